//! The queries on profiles.

use blocks::{Caller, Query};

use crate::domain::Profile;
use crate::error::ProfileError;
use crate::{Profiles, store};

/// The profile of an account.
pub struct ReadProfile {
    pub by: Caller,
    pub user_id: i64,
}
blocks::operation!(ReadProfile -> Result<Profile, ProfileError>, "profile.of_user",
    |it| user.id = it.by.id, profile.user_id = it.user_id);

impl Query<Profiles> for ReadProfile {
    async fn run(self, on: &Profiles) -> Result<Profile, ProfileError> {
        of_user(on, self.user_id).await
    }
}

pub(crate) async fn of_user(on: &Profiles, user_id: i64) -> Result<Profile, ProfileError> {
    let found = store::of_user(&mut on.db.read().await?, user_id).await?;
    found.ok_or(ProfileError::NotFound)
}
