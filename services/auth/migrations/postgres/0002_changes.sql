-- What other replicas must be told of: sessions that ended, accounts that changed. They read what
-- was committed since they last looked, which numbers alone do not tell: a later one may be committed
-- first. The transaction that wrote a row does.
create table changes (
    id bigint generated always as identity primary key,
    transaction xid8 not null default pg_current_xact_id(),
    change text not null,
    -- Nobody needs it after that.
    until timestamptz not null
);
create index changes_transaction on changes (transaction);
create index changes_until on changes (until);
