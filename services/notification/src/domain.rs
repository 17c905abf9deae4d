//! Notifications and their texts. No I/O.

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// The kind of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An account was opened.
    Welcome,
}

impl Kind {
    /// The kind's name in the store and in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Welcome => "welcome",
        }
    }
}

/// A notification to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The user who gets it.
    pub user_id: i64,
    /// The kind of notification.
    pub kind: Kind,
    /// The subject's id: a user gets one notification about it.
    pub about: String,
    /// The title, one line.
    pub title: String,
    pub body: String,
}

impl Notice {
    /// The welcome of a new account, sent once in its life.
    pub fn welcome(user_id: i64, username: &str) -> Self {
        Self {
            user_id,
            kind: Kind::Welcome,
            about: "account".to_owned(),
            title: format!("Welcome, {username}!"),
            body: format!(
                "Hello {username}, your account is ready. Write your profile, publish a first post, \
                 and see in the activity stream what the others are up to."
            ),
        }
    }
}

/// A notification in a user's inbox.
#[derive(Debug, Clone, PartialEq, Eq, sqlx_macros::FromRow)]
pub struct Notification {
    pub id: Uuid,
    pub kind: String,
    /// The title, one line.
    pub title: String,
    pub body: String,
    /// When it came into the inbox.
    pub created_at: DateTime<Utc>,
    /// When the user read it, if they did.
    pub read_at: Option<DateTime<Utc>>,
}
