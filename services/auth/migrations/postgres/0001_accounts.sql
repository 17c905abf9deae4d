-- Accounts. The keys are the normalised forms, computed by the service: what is unique is decided here.
create table users (
    id bigint generated always as identity primary key,
    email text not null,
    email_key text not null,
    username text not null,
    username_key text not null,
    full_name text,
    age bigint check (age between 0 and 150),
    role text not null check (role in ('admin', 'user', 'guest')),
    password_hash text not null,
    -- Sessions that began earlier have ended.
    not_before timestamptz,
    -- Counts the events of this account.
    version bigint not null check (version >= 1),
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint users_email_key_key unique (email_key),
    constraint users_username_key_key unique (username_key)
);
create index users_not_before on users (not_before) where not_before is not null;

-- Logins. Family and hashes are for refresh tokens: a family is a login, however often it was renewed.
create table sessions (
    id uuid primary key,
    user_id bigint not null references users (id) on delete cascade,
    user_agent text,
    family uuid,
    refresh_hash bytea,
    previous_hash bytea,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    revoked_at timestamptz
);
create index sessions_user on sessions (user_id, id);
create index sessions_revoked on sessions (expires_at) where revoked_at is not null;

-- Keys that sign tokens, encrypted. A key is published before it signs and retired when its last
-- token ended.
create table signing_keys (
    kid text primary key,
    -- Two processes that make the first key at once both make generation 1: one of them wins.
    generation bigint not null,
    sealed bytea not null,
    published_at timestamptz not null,
    signs_from timestamptz not null,
    retired_at timestamptz,
    constraint signing_keys_generation_key unique (generation)
);
