-- Keys lie where every service has them.
insert into idempotency_keys (user_id, operation, key, fingerprint, answer, created_at)
    select user_id, 'posts.create', key, fingerprint,
        json_object('post_id', lower(hex(post_id)), 'username', username, 'created_at', created_at),
        created_at
    from idempotency_records;
drop table idempotency_records;
