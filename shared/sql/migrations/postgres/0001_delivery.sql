-- Events that were committed with the state they tell of.
create table outbox_messages (
    position bigint generated always as identity primary key,
    event_id text not null,
    event_type text not null,
    topic text not null,
    key text not null,
    version bigint not null,
    status text not null check (status in ('pending', 'published', 'refused')),
    headers text not null,
    payload bytea not null,
    occurred_at timestamptz not null,
    created_at timestamptz not null,
    published_at timestamptz,
    error text
);
create index outbox_messages_pending on outbox_messages (position) where status = 'pending';

-- What each consumer group took in: 'processing' waits, 'processed' had its effect.
create table inbox_messages (
    consumer_group text not null,
    topic text not null,
    key text not null,
    version bigint not null,
    message_id text not null,
    event_type text,
    status text not null check (status in ('processing', 'processed')),
    received_at timestamptz not null,
    processed_at timestamptz,
    record text,
    primary key (consumer_group, topic, key, version)
);
create index inbox_messages_waiting on inbox_messages (consumer_group, topic, key) where status = 'processing';

-- The last version of each key that a group applied.
create table consumer_versions (
    consumer_group text not null,
    topic text not null,
    key text not null,
    version bigint not null,
    seen_at timestamptz not null,
    primary key (consumer_group, topic, key)
);

-- Where each group goes on.
create table consumer_offsets (
    consumer_group text not null,
    topic text not null,
    partition integer not null,
    next_offset bigint not null,
    updated_at timestamptz not null,
    primary key (consumer_group, topic, partition)
);

-- Keys that do not go on, and why.
create table parked_keys (
    id bigint generated always as identity primary key,
    consumer_group text not null,
    topic text not null,
    key text not null,
    partition integer not null,
    reason text not null check (reason in ('retrying', 'rejected', 'poison', 'gap')),
    error text not null,
    attempts bigint not null,
    retry_at timestamptz,
    since timestamptz not null,
    constraint parked_keys_key_key unique (consumer_group, topic, key)
);
create index parked_keys_due on parked_keys (consumer_group, retry_at) where retry_at is not null;

-- Who does the work that one process does for all.
create table leases (
    name text primary key,
    holder text not null,
    epoch bigint not null,
    expires_ms bigint not null
);
