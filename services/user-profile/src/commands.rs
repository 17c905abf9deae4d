//! What profiles can be told.

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
    store::create(profiles.db(), caller.id, fields).await
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
    store::update(profiles.db(), caller.id, changes).await
}

/// Deletes the caller's profile.
///
/// # Errors
/// See [`ProfileError`].
pub async fn delete(profiles: &Profiles, caller: &Caller) -> Result<(), ProfileError> {
    store::delete(profiles.db(), caller.id).await
}
