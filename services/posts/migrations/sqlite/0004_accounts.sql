-- As in every service that follows accounts.
alter table authors rename to accounts;
alter table accounts rename column deleted_at to closed_at;
drop index authors_deleted;
create index accounts_closed on accounts (user_id) where closed_at is not null;
