//! What users are told, and in which words. No I/O.

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// What a notification is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An account was opened.
    Welcome,
}

impl Kind {
    /// As it is stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Welcome => "welcome",
        }
    }
}

/// Something to tell a user, not yet told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Whom.
    pub user_id: i64,
    /// What for.
    pub kind: Kind,
    /// What about: a user is told of it once.
    pub about: String,
    /// One line.
    pub title: String,
    /// The text.
    pub body: String,
}

impl Notice {
    /// Welcomes a new account. There is one welcome in an account's life.
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Names it.
    pub id: Uuid,
    /// What it is for.
    pub kind: String,
    /// One line.
    pub title: String,
    /// The text.
    pub body: String,
    /// When the user was told.
    pub created_at: DateTime<Utc>,
    /// When the user read it.
    pub read_at: Option<DateTime<Utc>>,
}
