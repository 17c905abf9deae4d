-- What is managed of an account. Times of logins are for people; sessions decide.
alter table users add column first_name text;
alter table users add column last_name text;
alter table users add column is_active boolean not null default true;
alter table users add column email_verified boolean not null default false;
alter table users add column last_login_at timestamptz;
create index users_created on users (created_at, id);
create index users_role on users (role, id);
create index users_inactive on users (id) where not is_active;
-- In the order of bytes, as on SQLite.
create index users_username on users (username_key collate "C", id);

-- The texts by whose beginning an account is found, in small letters.
create table user_terms (
    term text collate "C" not null,
    user_id bigint not null references users (id) on delete cascade,
    primary key (term, user_id)
);
create index user_terms_user on user_terms (user_id);
insert into user_terms (term, user_id)
    select email_key, id from users
    union select username_key, id from users
    union select lower(full_name), id from users where full_name is not null;

-- Closed accounts, and which services have answered that they hold nothing of them any more.
create table closed_accounts (
    user_id bigint primary key,
    closed_at timestamptz not null
);
create table erasures (
    user_id bigint not null,
    service text not null,
    records bigint not null,
    erased_at timestamptz not null,
    primary key (user_id, service)
);
