//! The commands on profiles. Each is one write of the state and its event.

use blocks::extract::IdempotencyKey;
use blocks::{Caller, Command, Operation};
use sql::{Tx, accounts};

use crate::domain::{Added, Changes, Fields, Profile, Request};
use crate::error::ProfileError;
use crate::{Profiles, queries, store};

/// Creates the caller's profile; with a key, only once, however often it is sent.
pub struct CreateProfile {
    pub by: Caller,
    pub request: Request,
    pub key: IdempotencyKey,
}
blocks::operation!(CreateProfile -> Result<Profile, ProfileError>, "profile.create", |it| user.id = it.by.id);

impl Command<Profiles> for CreateProfile {
    async fn run(self, on: &Profiles) -> Result<Profile, ProfileError> {
        let mut fields = Fields::default();
        Changes::new(self.request, on.today())?.apply(&mut fields);
        let request = self.key.request(&fields);
        let (user_id, asked) = (self.by.id, fields.clone());
        let added = on.db.write_once((Self::NAME, user_id), request, move |tx| {
            Box::pin(add(tx, user_id, asked))
        });
        Ok(added.await?.profile(user_id, fields))
    }
}

async fn add(tx: &mut Tx, user_id: i64, fields: Fields) -> Result<Added, ProfileError> {
    accounts::hold_open(tx, user_id, "").await??;
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
pub struct UpdateProfile {
    pub by: Caller,
    pub request: Request,
}
blocks::operation!(UpdateProfile -> Result<Profile, ProfileError>, "profile.update", |it| user.id = it.by.id);

impl Command<Profiles> for UpdateProfile {
    async fn run(self, on: &Profiles) -> Result<Profile, ProfileError> {
        let user_id = self.by.id;
        let changes = Changes::new(self.request, on.today())?;
        if changes.is_empty() {
            return queries::of_user(on, user_id).await;
        }
        let write = on.db.write(move |tx| {
            Box::pin(async move {
                let profile = store::change(tx, user_id, changes).await?;
                profile.ok_or(ProfileError::NotFound)
            })
        });
        write.await
    }
}

/// Deletes the caller's profile.
pub struct DeleteProfile {
    pub by: Caller,
}
blocks::operation!(DeleteProfile -> Result<(), ProfileError>, "profile.delete", |it| user.id = it.by.id);

impl Command<Profiles> for DeleteProfile {
    async fn run(self, on: &Profiles) -> Result<(), ProfileError> {
        let user_id = self.by.id;
        let write = on.db.write(move |tx| {
            Box::pin(async move {
                let removed = store::remove(tx, user_id).await?;
                removed.then_some(()).ok_or(ProfileError::NotFound)
            })
        });
        write.await
    }
}
