-- One row: which generation of entries is shown, and the rebuild that is under way.
create table feed_state (
    id integer primary key check (id = 1),
    serving integer not null,
    building integer,
    started_at text,
    targets text,
    check ((building is null) = (targets is null) and (building is null) = (started_at is null)),
    check (building > serving)
);
insert into feed_state (id, serving) values (1, 1);

-- Posts in their latest state. A rebuild fills a generation of its own beside the one that is shown.
create table entries (
    post_id blob not null,
    generation integer not null,
    user_id integer not null,
    created_at text not null,
    event_type text not null,
    happened_at text not null,
    username text not null,
    title text not null,
    content text not null,
    tags text not null,
    primary key (post_id, generation)
);
create index entries_newest on entries (generation, created_at, post_id);
create index entries_newest_by_user on entries (user_id, generation, created_at, post_id);

-- Names by the word of the accounts themselves. A closed account keeps its row, without its name, so
-- that a post event that comes late does not bring its posts back.
create table authors (
    user_id integer primary key,
    username text,
    version integer not null,
    deleted boolean not null,
    check (deleted = (username is null))
);
