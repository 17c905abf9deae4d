-- Who writes: the service's own copy of names, fed by user.events. Version 0 is a name that came
-- with a caller, before the account's first event.
create table authors (
    user_id integer primary key,
    username text not null,
    version integer not null check (version >= 0),
    deleted_at text
);
create index authors_deleted on authors (user_id) where deleted_at is not null;

-- A deleted post stays as a tombstone without content, so that its version goes on.
create table posts (
    id blob primary key,
    user_id integer not null references authors (user_id),
    title text not null,
    content text not null,
    tags text not null,
    version integer not null check (version >= 1),
    created_at text not null,
    updated_at text not null,
    deleted_at text,
    constraint posts_tombstone_is_empty
        check (deleted_at is null or (title = '' and content = '' and tags = '[]'))
);
-- Not partial ones: SQLite counts through an index only when the index has all that is asked for.
create index posts_newest on posts (deleted_at, created_at desc, id desc);
create index posts_newest_by_author on posts (user_id, deleted_at, created_at desc, id desc);

-- One row a tag of a post that stands, in the order of the lists.
create table post_tags (
    tag text not null,
    created_at text not null,
    post_id blob not null references posts (id),
    user_id integer not null,
    primary key (tag, created_at, post_id)
) without rowid;
create index post_tags_by_author on post_tags (user_id, tag, created_at, post_id);
create index post_tags_of_post on post_tags (post_id);

-- What was already asked for under a key. With the same request it tells the same answer.
create table idempotency_records (
    user_id integer not null,
    key text not null,
    fingerprint text not null,
    post_id blob not null,
    username text not null,
    created_at text not null,
    primary key (user_id, key)
) without rowid;
create index idempotency_records_oldest on idempotency_records (created_at);
