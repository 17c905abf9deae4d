//! Events of accounts. The topic forgets after a week, since it carries personal data.

use uuid::Uuid;

use crate::{Envelope, Malformed, topic};

events! {
    on topic::USERS, by user_id;

    /// An account was opened. Notification welcomes it, unless it was imported; posts and feed learn the name.
    pub struct UserCreated = "user.created" version 1 {
        /// The account: the key.
        pub user_id: i64 = 3,
        /// As the user writes it.
        pub username: String = "ada".into(),
        /// The address for mail.
        pub email: String = "ada@example.com".into(),
        /// `admin`, `user` or `guest`.
        pub role: String = "user".into(),
        /// True if its owner had it elsewhere before. Absent where it is false.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pub imported: bool = true,
    }

    /// An account was changed. Posts and feed show the new name from then on.
    pub struct UserUpdated = "user.updated" version 1 {
        /// The account: the key.
        pub user_id: i64 = 3,
        /// The name after the change.
        pub username: String = "ada".into(),
        /// The role after the change.
        pub role: String = "user".into(),
    }

    /// An account was closed. Its posts are deleted and its name is forgotten.
    pub struct UserDeleted = "user.deleted" version 1 {
        /// The account: the key.
        pub user_id: i64 = 3,
    }

    /// Somebody logged in.
    pub struct UserAuthenticated = "user.authenticated" version 1 {
        /// The account: the key.
        pub user_id: i64 = 3,
        /// The session that began.
        pub session_id: Uuid = Uuid::from_u128(9),
    }

    /// A session was ended before its time: by its owner, an admin, or because its refresh token was used twice.
    pub struct UserSessionRevoked = "user.session_revoked" version 1 {
        /// The account: the key.
        pub user_id: i64 = 3,
        /// The session that ended.
        pub session_id: Uuid = Uuid::from_u128(9),
        /// `refresh_token_reused` where two had its refresh token, one perhaps a thief. Absent otherwise.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub reason: Option<String> = Some("refresh_token_reused".into()),
    }

    /// A service holds nothing of a closed account any more: its answer to `user.deleted`.
    pub struct UserErased = "user.erased" version 1 by user_id/service {
        /// The account.
        pub user_id: i64 = 3,
        /// The service that answers.
        pub service: String = "notification".into(),
        /// Number of records that it erased.
        pub records: u64 = 2,
    }
}

/// An event's meaning for services that show an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountChange {
    /// The account has this name now.
    Named {
        /// The account.
        user_id: i64,
        /// The account's name.
        username: String,
    },
    /// The account was closed.
    Closed {
        /// The account.
        user_id: i64,
    },
}

impl AccountChange {
    /// The change that `event` makes; `None` for types that change neither.
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
        Self::closed_by(event)
    }

    /// The account that `event` closes; `None` for any other type.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn closed_by(event: &Envelope) -> Result<Option<Self>, Malformed> {
        let closed = event.open::<UserDeleted>().transpose()?;
        Ok(closed.map(|UserDeleted { user_id }| Self::Closed { user_id }))
    }
}

#[cfg(test)]
mod tests {
    use super::UserCreated;

    /// As it was written before accounts were imported, and is for all others.
    #[test]
    fn an_account_is_not_imported_where_nothing_says_so() {
        let before = r#"{"user_id":3,"username":"ada","email":"ada@example.com","role":"user"}"#;
        let read: UserCreated = serde_json::from_str(before).unwrap();
        assert!(!read.imported);
        assert_eq!(serde_json::to_string(&read).unwrap(), before);
    }
}
