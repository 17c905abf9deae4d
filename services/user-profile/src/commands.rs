//! The commands on profiles. Each is one write of the state and its event.

use blocks::Caller;
use blocks::extract::IdempotencyKey;
use sql::{Tx, accounts, idempotency};

use crate::domain::{Added, Changes, Fields, Profile, Request};
use crate::error::ProfileError;
use crate::{Profiles, queries, store};

/// The operation that idempotency keys of new profiles belong to.
const CREATE: &str = "profile.create";

/// Creates the caller's profile; with a key, only once, however often it is sent.
///
/// # Errors
/// See [`ProfileError`].
pub async fn create(
    profiles: &Profiles,
    caller: &Caller,
    request: Request,
    key: IdempotencyKey,
) -> Result<Profile, ProfileError> {
    let mut fields = Fields::default();
    Changes::new(request, profiles.today())?.apply(&mut fields);
    let request = key.request(&fields);
    let user_id = caller.id;
    profiles
        .db()
        .write(move |tx| {
            Box::pin(async move {
                let asked = fields.clone();
                let added = idempotency::once(tx, (CREATE, user_id), request, move |tx| {
                    Box::pin(add(tx, user_id, asked))
                });
                Ok(added.await?.profile(user_id, fields))
            })
        })
        .await
}

async fn add(tx: &mut Tx, user_id: i64, fields: Fields) -> Result<Added, ProfileError> {
    if !accounts::hold_open(tx, user_id, "").await? {
        return Err(ProfileError::AccountDeleted);
    }
    let added = store::add(tx, user_id, &fields).await;
    added.map_err(|error| {
        if error.is_unique("user_profiles", "user_id") {
            ProfileError::Exists
        } else {
            ProfileError::Store(error)
        }
    })
}

/// Changes the caller's profile. Writes nothing if no field is named.
///
/// # Errors
/// See [`ProfileError`].
pub async fn update(
    profiles: &Profiles,
    caller: &Caller,
    request: Request,
) -> Result<Profile, ProfileError> {
    let changes = Changes::new(request, profiles.today())?;
    if changes.is_empty() {
        return queries::of_user(profiles, caller.id).await;
    }
    let user_id = caller.id;
    profiles
        .db()
        .write(move |tx| {
            Box::pin(async move {
                let profile = store::change(tx, user_id, changes).await?;
                profile.ok_or(ProfileError::NotFound)
            })
        })
        .await
}

/// Deletes the caller's profile.
///
/// # Errors
/// See [`ProfileError`].
pub async fn delete(profiles: &Profiles, caller: &Caller) -> Result<(), ProfileError> {
    let user_id = caller.id;
    profiles
        .db()
        .write(move |tx| {
            Box::pin(async move {
                let removed = store::remove(tx, user_id).await?;
                removed.then_some(()).ok_or(ProfileError::NotFound)
            })
        })
        .await
}
