-- What was already done under a client's key, and what its answer is made of besides the request.
create table idempotency_keys (
    user_id integer not null,
    operation text not null,
    key text not null,
    fingerprint text not null,
    answer text not null,
    created_at text not null,
    primary key (user_id, operation, key)
) without rowid;
create index idempotency_keys_oldest on idempotency_keys (created_at);
