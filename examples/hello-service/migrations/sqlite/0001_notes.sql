create table notes (id blob primary key, user_id integer not null, text text not null, created_at text not null);
create index notes_newest on notes (user_id, created_at, id);
create table accounts (user_id integer primary key, username text not null, version integer not null, closed_at text);
