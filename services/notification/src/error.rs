//! The errors of notifications, and the problems that clients get for them.

use blocks::{AsProblem, FieldErrors, Problem};
use sql::StoreError;

/// A reason why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum NotificationError {
    /// The request breaks a rule.
    #[error(transparent)]
    Refused(#[from] FieldErrors),
    /// The caller has no such notification.
    #[error("no such notification")]
    NotFound,
    /// The store can't be reached.
    #[error("the notification store failed")]
    Store(#[from] StoreError),
}

impl AsProblem for NotificationError {
    fn problem(&self) -> Problem {
        match self {
            Self::Refused(errors) => errors.problem(),
            Self::NotFound => Problem::not_found(
                "notification_not_found",
                "you have no notification of this id",
            ),
            Self::Store(error) => error.problem(),
        }
    }
}

blocks::problem_response!(NotificationError);
