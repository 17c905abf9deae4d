-- People as providers know them. An account has one of each provider: an address that was given to
-- somebody else there must not bring the next owner in.
create table oidc_identities (
    issuer text not null,
    subject text not null,
    user_id bigint not null references users (id) on delete cascade,
    created_at timestamptz not null,
    primary key (issuer, subject),
    constraint oidc_identities_user_id_key unique (user_id, issuer)
);

-- Hashes of the states that brought somebody in, until they expire: each does so once.
create table oidc_states (
    hash bytea primary key,
    expires_at timestamptz not null
);
create index oidc_states_expires on oidc_states (expires_at);

-- Hashes of codes that a page may exchange for a session, each once.
create table oidc_codes (
    hash bytea primary key,
    user_id bigint not null references users (id) on delete cascade,
    expires_at timestamptz not null
);
create index oidc_codes_user on oidc_codes (user_id);
create index oidc_codes_expires on oidc_codes (expires_at);
