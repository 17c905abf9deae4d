//! What others are told of accounts: the one place where what happened becomes an event on a topic.

use events::users::{UserAuthenticated, UserCreated, UserDeleted, UserSessionRevoked, UserUpdated};
use sql::{StoreError, Tx};

use crate::domain::AccountEvent;

/// Publishes `event` as version `version` of the account, in the write in which it happens.
///
/// # Errors
/// When it can't be written.
pub async fn publish(tx: &mut Tx, event: AccountEvent<'_>, version: i64) -> Result<(), StoreError> {
    match event {
        AccountEvent::Opened(account) | AccountEvent::Imported(account) => {
            let event = UserCreated {
                user_id: account.id,
                username: account.username.clone(),
                email: account.email.clone(),
                role: account.role.to_string(),
                imported: matches!(event, AccountEvent::Imported(_)),
            };
            tx.publish(&event, version).await
        }
        AccountEvent::Changed(account) => {
            let event = UserUpdated {
                user_id: account.id,
                username: account.username.clone(),
                role: account.role.to_string(),
            };
            tx.publish(&event, version).await
        }
        AccountEvent::Closed { user_id } => tx.publish(&UserDeleted { user_id }, version).await,
        AccountEvent::LoggedIn { user_id, session } => {
            let event = UserAuthenticated {
                user_id,
                session_id: session,
            };
            tx.publish(&event, version).await
        }
        AccountEvent::SessionEnded {
            user_id,
            session,
            reason,
        } => {
            let event = UserSessionRevoked {
                user_id,
                session_id: session,
                reason: reason.map(str::to_owned),
            };
            tx.publish(&event, version).await
        }
    }
}
