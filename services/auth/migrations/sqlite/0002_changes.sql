-- What other replicas must be told. One process has this file, so nobody is.
create table changes (
    id integer primary key,
    change text not null,
    until text not null
);
