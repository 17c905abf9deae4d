create table notes (id uuid primary key, user_id bigint not null, text text not null, created_at timestamptz not null);
create index notes_newest on notes (user_id, created_at, id);
create table accounts (user_id bigint primary key, username text not null, version bigint not null, closed_at timestamptz);
