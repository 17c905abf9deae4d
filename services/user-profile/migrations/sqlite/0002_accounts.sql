-- As in every service that follows accounts.
alter table accounts add column username text not null default '';
alter table accounts add column version integer not null default 0;
