//! Statements on the places that accounts were logged in from.

use chrono::{DateTime, TimeDelta, Utc};
use sql::{Reader, StoreError, Tx, execute, fetch_one, rows_affected};

/// How long a place is known after the last login from there.
const KNOWN_FOR: TimeDelta = TimeDelta::days(90);
/// How old the note of a login may be before the next one from there is noted.
const NOTED_EVERY: TimeDelta = TimeDelta::days(1);
/// Most places of an account: those of the latest logins.
const MOST_PLACES: i64 = 100;

/// Notes that the account was logged in to from `place`.
pub async fn note_place(tx: &mut Tx, user_id: i64, place: &str) -> Result<(), StoreError> {
    let now = tx.now();
    let noted = rows_affected!(tx,
        "insert into known_places (user_id, place, seen_at) values ($1, $2, $3)
         on conflict (user_id, place) do update set seen_at = excluded.seen_at
         where known_places.seen_at < $4" => user_id, place, now, now - NOTED_EVERY)?;
    if noted == 0 {
        return Ok(());
    }
    execute!(tx,
        "delete from known_places where user_id = $1 and (seen_at < $2 or place in
            (select place from known_places where user_id = $1
             order by seen_at desc, place limit $3 offset $4))"
        => user_id, now - KNOWN_FOR, i64::MAX, MOST_PLACES)
}

/// Forgets from where the account was logged in to.
pub async fn forget_places(tx: &mut Tx, user_id: i64) -> Result<(), StoreError> {
    execute!(tx, "delete from known_places where user_id = $1" => user_id)
}

/// True if the account was logged in to from `place` lately.
pub async fn knows_place(
    reader: &mut Reader,
    user_id: i64,
    place: &str,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let known: i64 = fetch_one!(reader, scalar
        "select count(*) from known_places where user_id = $1 and place = $2 and seen_at >= $3"
        => user_id, place, now - KNOWN_FOR)?;
    Ok(known > 0)
}
