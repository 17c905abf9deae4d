create table notifications (
    id uuid primary key,
    user_id bigint not null,
    kind text not null,
    -- What it is about, by the sender's word: a second one of the same kind about the same is none.
    about text not null,
    title text not null,
    body text not null,
    created_at timestamptz not null,
    read_at timestamptz,
    constraint notifications_about_key unique (user_id, kind, about)
);
create index notifications_newest on notifications (user_id, created_at, id);
create index notifications_unread on notifications (user_id, created_at, id) where read_at is null;
