//! The queries on profiles.

use crate::domain::Profile;
use crate::error::ProfileError;
use crate::{Profiles, store};

/// The profile of an account.
///
/// # Errors
/// See [`ProfileError`].
pub async fn of_user(profiles: &Profiles, user_id: i64) -> Result<Profile, ProfileError> {
    store::of_user(&mut profiles.db().read().await?, user_id)
        .await?
        .ok_or(ProfileError::NotFound)
}
