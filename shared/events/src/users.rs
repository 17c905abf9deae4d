//! What became of accounts, on `user.events`, keyed by the user id. The topic forgets after a week,
//! since it carries personal data.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Envelope, Event, Malformed, Topic, topic};

macro_rules! user_event {
    ($name:ident, $type:literal) => {
        impl Event for $name {
            const TOPIC: &'static Topic = &topic::USERS;
            const TYPE: &'static str = $type;
            const VERSION: u16 = 1;
            fn subject(&self) -> String {
                self.user_id.to_string()
            }
        }
    };
}

/// An account was opened. Notification welcomes it; posts and feed learn the name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserCreated {
    /// The account: the key.
    pub user_id: i64,
    /// As the user writes it.
    pub username: String,
    /// Where mail goes.
    pub email: String,
    /// `admin`, `user` or `guest`.
    pub role: String,
}
user_event!(UserCreated, "user.created");

/// An account was changed. Posts and feed show the new name from then on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserUpdated {
    /// The account: the key.
    pub user_id: i64,
    /// The name after the change.
    pub username: String,
    /// The role after the change.
    pub role: String,
}
user_event!(UserUpdated, "user.updated");

/// An account was closed. Its posts are deleted and its name is forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserDeleted {
    /// The account: the key.
    pub user_id: i64,
}
user_event!(UserDeleted, "user.deleted");

/// Somebody logged in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserAuthenticated {
    /// The account: the key.
    pub user_id: i64,
    /// The session that began.
    pub session_id: Uuid,
}
user_event!(UserAuthenticated, "user.authenticated");

/// A session was ended before its time: a logout, or an owner who ended it from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserSessionRevoked {
    /// The account: the key.
    pub user_id: i64,
    /// The session that ended.
    pub session_id: Uuid,
}
user_event!(UserSessionRevoked, "user.session_revoked");

/// What an event is to the services that show an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountChange {
    /// It has this name now.
    Named {
        /// The account.
        user_id: i64,
        /// Its name.
        username: String,
    },
    /// It was closed.
    Closed {
        /// The account.
        user_id: i64,
    },
}

impl AccountChange {
    /// What `event` changes; `None` for types that change neither.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn of(event: &Envelope) -> Result<Option<Self>, Malformed> {
        let named = |user_id, username| Some(Self::Named { user_id, username });
        if let Some(created) = event.open::<UserCreated>() {
            return created.map(|user| named(user.user_id, user.username));
        }
        if let Some(updated) = event.open::<UserUpdated>() {
            return updated.map(|user| named(user.user_id, user.username));
        }
        let closed = event.open::<UserDeleted>().transpose()?;
        Ok(closed.map(|UserDeleted { user_id }| Self::Closed { user_id }))
    }
}
