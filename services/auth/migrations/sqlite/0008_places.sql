-- Where accounts were logged in from, as keyed hashes of networks: an owner gets in from there while others guess.
create table known_places (
    user_id integer not null references users (id) on delete cascade,
    place text not null,
    seen_at text not null,
    primary key (user_id, place)
) without rowid;
