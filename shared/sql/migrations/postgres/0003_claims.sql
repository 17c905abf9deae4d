-- Calls to the outside, claimed before they are made.
create table claims (
    key text primary key,
    state text not null check (state in ('claimed', 'retry', 'done', 'failed', 'uncertain')),
    attempt bigint not null,
    claimed_at timestamptz not null,
    retry_at timestamptz,
    error text
);
create index claims_by_state on claims (state, claimed_at);
