//! What profiles can be told. Each is one write: the state and the event that tells of it.

use blocks::Caller;

use crate::domain::{Changes, Fields, Profile, Request};
use crate::error::ProfileError;
use crate::{Profiles, queries, store};

/// Writes the caller's profile for the first time.
///
/// # Errors
/// See [`ProfileError`].
pub async fn create(
    profiles: &Profiles,
    caller: &Caller,
    request: Request,
) -> Result<Profile, ProfileError> {
    let mut fields = Fields::default();
    Changes::new(request, profiles.limits(), profiles.today())?.apply(&mut fields);
    let user_id = caller.id;
    profiles
        .db()
        .write(move |tx| {
            Box::pin(async move {
                if !store::claim(tx, user_id).await? {
                    return Err(ProfileError::AccountDeleted);
                }
                let added = store::add(tx, user_id, fields).await;
                added.map_err(|error| {
                    if error.is_unique("user_profiles", "user_id") {
                        ProfileError::Exists
                    } else {
                        ProfileError::Store(error)
                    }
                })
            })
        })
        .await
}

/// Changes the caller's profile. Where nothing is asked for, nothing is written.
///
/// # Errors
/// See [`ProfileError`].
pub async fn update(
    profiles: &Profiles,
    caller: &Caller,
    request: Request,
) -> Result<Profile, ProfileError> {
    let changes = Changes::new(request, profiles.limits(), profiles.today())?;
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
