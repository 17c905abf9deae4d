-- With all that a count asks for, so that it reads no notification: of the unread ones and of the
-- read ones alone.
drop index notifications_unread;
create index notifications_unread on notifications (user_id, created_at, id, read_at)
    where read_at is null;
create index notifications_read on notifications (user_id, created_at, id, read_at)
    where read_at is not null;
