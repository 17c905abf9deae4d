-- Accounts that wrote a profile, or were closed: who is closed writes none any more.
create table accounts (
    user_id integer primary key,
    closed_at text
);

-- An id is never used twice: it is the key of the profile's events.
create table user_profiles (
    id integer primary key autoincrement,
    user_id integer not null references accounts (user_id),
    first_name text,
    last_name text,
    dob text,
    address text,
    city text,
    state text,
    zip_code text,
    country text,
    phone text,
    bio text,
    preferences text,
    version integer not null check (version >= 1),
    created_at text not null,
    updated_at text not null,
    constraint user_profiles_user_id_key unique (user_id)
);
