//! Statements on profiles, inside a write that the caller began.

use chrono::{DateTime, NaiveDate, Utc};
use events::profiles::{ProfileCreated, ProfileDeleted, ProfileUpdated};
use serde_json::value::RawValue;
use sql::{Db, StoreError, Tx, on};
use sqlx::AssertSqlSafe;

use crate::domain::{Added, Changes, Fields, Profile};

const COLUMNS: &str = "id, user_id, first_name, last_name, dob, address, city, state, zip_code,
    country, phone, bio, preferences, version, created_at, updated_at";

#[derive(sqlx_macros::FromRow)]
struct Row {
    id: i64,
    user_id: i64,
    first_name: Option<String>,
    last_name: Option<String>,
    dob: Option<NaiveDate>,
    address: Option<String>,
    city: Option<String>,
    state: Option<String>,
    zip_code: Option<String>,
    country: Option<String>,
    phone: Option<String>,
    bio: Option<String>,
    preferences: Option<String>,
    version: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TryFrom<Row> for Profile {
    type Error = StoreError;
    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id,
            user_id: row.user_id,
            fields: Fields {
                first_name: row.first_name,
                last_name: row.last_name,
                dob: row.dob,
                address: row.address,
                city: row.city,
                state: row.state,
                zip_code: row.zip_code,
                country: row.country,
                phone: row.phone,
                bio: row.bio,
                preferences: row.preferences.map(RawValue::from_string).transpose()?,
            },
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// Adds the first profile of an account, as version 1, with its event.
///
/// # Errors
/// A second one breaks the constraint `user_profiles_user_id_key`.
pub async fn add(tx: &mut Tx, user_id: i64, fields: &Fields) -> Result<Added, StoreError> {
    let created_at = tx.now();
    let profile_id = insert(tx, user_id, fields, created_at).await?;
    let event = ProfileCreated {
        profile_id,
        user_id,
    };
    tx.publish(&event, Added::VERSION).await?;
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
    let event = ProfileUpdated {
        profile_id: profile.id,
        user_id,
    };
    tx.publish(&event, profile.version).await?;
    Ok(Some(profile))
}

/// The account's profile.
///
/// # Errors
/// When the store failed.
pub async fn of_user(db: &Db, user_id: i64) -> Result<Option<Profile>, StoreError> {
    let statement = format!("select {COLUMNS} from user_profiles where user_id = $1");
    let mut reader = db.read().await?;
    let row: Option<Row> = on!(reader, conn => sqlx::query_as(AssertSqlSafe(statement))
        .bind(user_id)
        .fetch_optional(&mut *conn)
        .await)?;
    row.map(Profile::try_from).transpose()
}

async fn insert(
    tx: &mut Tx,
    user_id: i64,
    fields: &Fields,
    now: DateTime<Utc>,
) -> Result<i64, StoreError> {
    on!(tx, conn => sqlx::query_scalar(
        "insert into user_profiles (user_id, first_name, last_name, dob, address, city, state,
            zip_code, country, phone, bio, preferences, version, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 1, $13, $13) returning id",
    )
    .bind(user_id)
    .bind(&fields.first_name)
    .bind(&fields.last_name)
    .bind(fields.dob)
    .bind(&fields.address)
    .bind(&fields.city)
    .bind(&fields.state)
    .bind(&fields.zip_code)
    .bind(&fields.country)
    .bind(&fields.phone)
    .bind(&fields.bio)
    .bind(fields.preferences.as_ref().map(|json| json.get()))
    .bind(now)
    .fetch_one(&mut *conn)
    .await)
}

/// Counts the version on before anything is read, so that two changes at once happen one after the
/// other.
async fn next_version(tx: &mut Tx, user_id: i64) -> Result<Option<Profile>, StoreError> {
    let statement = format!(
        "update user_profiles set version = version + 1 where user_id = $1 returning {COLUMNS}"
    );
    let now = tx.now();
    let row: Option<Row> = on!(tx, conn => sqlx::query_as(AssertSqlSafe(statement))
        .bind(user_id)
        .fetch_optional(&mut *conn)
        .await)?;
    let profile = row.map(Profile::try_from).transpose()?;
    Ok(profile.map(|profile| {
        // A clock that went back must not make a profile older than it was.
        let updated_at = now.max(profile.updated_at);
        Profile {
            updated_at,
            ..profile
        }
    }))
}

async fn replace(tx: &mut Tx, profile: &Profile) -> Result<(), StoreError> {
    let fields = &profile.fields;
    on!(tx, conn => sqlx::query(
        "update user_profiles set first_name = $2, last_name = $3, dob = $4, address = $5,
            city = $6, state = $7, zip_code = $8, country = $9, phone = $10, bio = $11,
            preferences = $12, updated_at = $13
         where id = $1",
    )
    .bind(profile.id)
    .bind(&fields.first_name)
    .bind(&fields.last_name)
    .bind(fields.dob)
    .bind(&fields.address)
    .bind(&fields.city)
    .bind(&fields.state)
    .bind(&fields.zip_code)
    .bind(&fields.country)
    .bind(&fields.phone)
    .bind(&fields.bio)
    .bind(fields.preferences.as_ref().map(|json| json.get()))
    .bind(profile.updated_at)
    .execute(&mut *conn)
    .await
    .map(|_| ()))
}

/// Deletes the account's profile, with its event; false when there is none.
///
/// # Errors
/// When the store failed.
pub async fn remove(tx: &mut Tx, user_id: i64) -> Result<bool, StoreError> {
    let removed: Option<(i64, i64)> = on!(tx, conn => sqlx::query_as(
        "delete from user_profiles where user_id = $1 returning id, version",
    )
    .bind(user_id)
    .fetch_optional(&mut *conn)
    .await)?;
    let Some((profile_id, version)) = removed else {
        return Ok(false);
    };
    tx.publish(
        &ProfileDeleted {
            profile_id,
            user_id,
        },
        version + 1,
    )
    .await?;
    Ok(true)
}
