-- How many posts of a closed account are deleted, while it is not answered that all are.
alter table accounts add column erased bigint;
update accounts set erased = 0 where closed_at is not null and exists
    (select 1 from posts p where p.user_id = accounts.user_id and p.deleted_at is null);
drop index accounts_closed;
create index accounts_erased on accounts (user_id) where erased is not null;
