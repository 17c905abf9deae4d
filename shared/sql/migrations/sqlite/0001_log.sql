-- The topic log of a process that has no broker.
create table topics (
    name text primary key,
    partitions integer not null check (partitions between 1 and 65535),
    cleanup text not null check (cleanup in ('delete', 'compact')),
    after_ms integer not null
) without rowid;

create table partitions (
    id integer primary key,
    topic text not null references topics (name),
    partition integer not null,
    -- Kept where retention removes the newest record, so that no offset is given twice.
    next_offset integer not null default 0,
    -- Of the records below, what was superseded is removed already.
    compacted_to integer not null default 0,
    constraint partitions_topic_key unique (topic, partition)
);

-- A partition's records lie side by side in the order of their offsets:
-- place = partition id * 2^40 + offset. One tree to append to, and no index beside it.
create table records (
    place integer primary key,
    time_ms integer not null,
    compacted integer not null,
    key text not null,
    -- The event's `ce_sequence`, 0 where it has none: a version may be published again after later
    -- ones, so the last place of a key does not tell which of its records is the latest.
    version integer not null,
    headers text not null,
    value blob not null
);
create index records_by_key on records (key, version, place) where compacted = 1;

-- For people with a SQLite shell.
create view topic_records as
    select partitions.topic, partitions.partition, records.place & 1099511627775 as "offset",
           strftime('%Y-%m-%dT%H:%M:%fZ', records.time_ms / 1000.0, 'unixepoch') as time,
           records.key, records.version, records.headers, records.value
    from records join partitions on partitions.id = records.place >> 40;

-- How far each consumer group says it is. For lag tools only.
create table group_offsets (
    consumer_group text not null,
    topic text not null,
    partition integer not null,
    next_offset integer not null,
    updated_ms integer not null,
    primary key (consumer_group, topic, partition)
) without rowid;
