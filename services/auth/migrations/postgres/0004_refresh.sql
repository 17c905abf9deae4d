-- A session's refresh token: the hashes are of the one that holds and of the one before.
alter table sessions drop column family;
alter table sessions add column rotated_at timestamptz;
-- For people.
alter table sessions add column address text;
alter table sessions add column last_used_at timestamptz;
