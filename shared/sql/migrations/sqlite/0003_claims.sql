-- Calls to the outside, claimed before they are made.
create table claims (
    key text primary key,
    state text not null check (state in ('claimed', 'retry', 'done', 'failed', 'uncertain')),
    attempt integer not null,
    claimed_at text not null,
    retry_at text,
    error text
) without rowid;
create index claims_by_state on claims (state, claimed_at);
