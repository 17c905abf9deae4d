//! Statements on profiles, inside a write that the caller began.

use chrono::{DateTime, Utc};
use sql::{Reader, StoreError, Tx, execute, fetch_one, fetch_optional};
use sqlx::AssertSqlSafe;

use crate::domain::{Added, Changes, Fields, Profile, ProfileEvent};
use crate::integration::publish;

const COLUMNS: &str = "id, user_id, first_name, last_name, dob, address, city, state, zip_code,
    country, phone, bio, preferences, version, created_at, updated_at";

/// Adds the first profile of an account, as version 1, with its event.
///
/// # Errors
/// A second one breaks the constraint `user_profiles_user_id_key`.
pub async fn add(tx: &mut Tx, user_id: i64, fields: &Fields) -> Result<Added, StoreError> {
    let created_at = tx.now();
    let profile_id = insert(tx, user_id, fields, created_at).await?;
    let created = ProfileEvent::Created {
        profile_id,
        user_id,
    };
    publish(tx, created, Added::VERSION).await?;
    Ok(Added {
        id: profile_id,
        created_at,
    })
}

/// Applies `changes` to the account's profile, if there is one, with its event.
///
/// # Errors
/// When the store failed.
pub async fn change(
    tx: &mut Tx,
    user_id: i64,
    changes: Changes,
) -> Result<Option<Profile>, StoreError> {
    let Some(mut profile) = next_version(tx, user_id).await? else {
        return Ok(None);
    };
    changes.apply(&mut profile.fields);
    replace(tx, &profile).await?;
    let event = ProfileEvent::Changed {
        profile_id: profile.id,
        user_id,
    };
    publish(tx, event, profile.version).await?;
    Ok(Some(profile))
}

/// The account's profile.
///
/// # Errors
/// When the store failed.
pub async fn of_user(reader: &mut Reader, user_id: i64) -> Result<Option<Profile>, StoreError> {
    let statement = format!("select {COLUMNS} from user_profiles where user_id = $1");
    fetch_optional!(reader, AssertSqlSafe(statement) => user_id)
}

async fn insert(
    tx: &mut Tx,
    user_id: i64,
    fields: &Fields,
    now: DateTime<Utc>,
) -> Result<i64, StoreError> {
    fetch_one!(tx, scalar
        "insert into user_profiles (user_id, first_name, last_name, dob, address, city, state,
            zip_code, country, phone, bio, preferences, version, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 1, $13, $13) returning id"
        => user_id, &fields.first_name, &fields.last_name, fields.dob, &fields.address,
            &fields.city, &fields.state, &fields.zip_code, &fields.country, &fields.phone,
            &fields.bio, &fields.preferences, now)
}

/// Counts the version on before anything is read, so that two changes at once happen one after the
/// other.
async fn next_version(tx: &mut Tx, user_id: i64) -> Result<Option<Profile>, StoreError> {
    let statement = format!(
        "update user_profiles set version = version + 1 where user_id = $1 returning {COLUMNS}"
    );
    let now = tx.now();
    let profile: Option<Profile> = fetch_optional!(tx, AssertSqlSafe(statement) => user_id)?;
    Ok(profile.map(|profile| Profile {
        // A clock that went back must not make a profile older than it was.
        updated_at: now.max(profile.updated_at),
        ..profile
    }))
}

async fn replace(tx: &mut Tx, profile: &Profile) -> Result<(), StoreError> {
    let fields = &profile.fields;
    execute!(tx,
        "update user_profiles set first_name = $2, last_name = $3, dob = $4, address = $5,
            city = $6, state = $7, zip_code = $8, country = $9, phone = $10, bio = $11,
            preferences = $12, updated_at = $13
         where id = $1"
        => profile.id, &fields.first_name, &fields.last_name, fields.dob, &fields.address,
            &fields.city, &fields.state, &fields.zip_code, &fields.country, &fields.phone,
            &fields.bio, &fields.preferences, profile.updated_at)
}

/// Deletes the account's profile, with its event; false when there is none.
///
/// # Errors
/// When the store failed.
pub async fn remove(tx: &mut Tx, user_id: i64) -> Result<bool, StoreError> {
    let removed: Option<(i64, i64)> = fetch_optional!(tx,
        "delete from user_profiles where user_id = $1 returning id, version" => user_id)?;
    let Some((profile_id, version)) = removed else {
        return Ok(false);
    };
    let deleted = ProfileEvent::Deleted {
        profile_id,
        user_id,
    };
    publish(tx, deleted, version + 1).await?;
    Ok(true)
}
