//! What others are told of profiles: the one place where what happened becomes an event on a topic.

use events::profiles::{ProfileCreated, ProfileDeleted, ProfileUpdated};
use sql::{StoreError, Tx};

use crate::domain::ProfileEvent;

/// Publishes `event` as version `version` of the profile, in the write in which it happens.
///
/// # Errors
/// When it can't be written.
pub async fn publish(tx: &mut Tx, event: ProfileEvent, version: i64) -> Result<(), StoreError> {
    match event {
        ProfileEvent::Created {
            profile_id,
            user_id,
        } => {
            let event = ProfileCreated {
                profile_id,
                user_id,
            };
            tx.publish(&event, version).await
        }
        ProfileEvent::Changed {
            profile_id,
            user_id,
        } => {
            let event = ProfileUpdated {
                profile_id,
                user_id,
            };
            tx.publish(&event, version).await
        }
        ProfileEvent::Deleted {
            profile_id,
            user_id,
        } => {
            let event = ProfileDeleted {
                profile_id,
                user_id,
            };
            tx.publish(&event, version).await
        }
    }
}
