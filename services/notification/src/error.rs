//! What can go wrong, and what clients are told of it.

use blocks::{AsProblem, FieldErrors, Problem};
use sql::StoreError;

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum NotificationError {
    /// The request is not as it must be.
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
