-- Accounts that wrote a profile, or were closed: who is closed writes none any more.
create table accounts (
    user_id bigint primary key,
    closed_at timestamptz
);

-- An id is never used twice: it is the key of the profile's events. Preferences are a text, since
-- they are given back exactly as they came.
create table user_profiles (
    id bigint generated always as identity primary key,
    user_id bigint not null references accounts (user_id),
    first_name text,
    last_name text,
    dob date,
    address text,
    city text,
    state text,
    zip_code text,
    country text,
    phone text,
    bio text,
    preferences text,
    version bigint not null check (version >= 1),
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint user_profiles_user_id_key unique (user_id)
);
