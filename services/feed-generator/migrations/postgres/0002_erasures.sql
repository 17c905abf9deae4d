-- How many records of a closed account are dropped, while it is not answered that all are.
alter table authors add column erased bigint;
update authors set erased = 0 where deleted and exists
    (select 1 from entries e where e.user_id = authors.user_id);
create index authors_erased on authors (user_id) where erased is not null;
