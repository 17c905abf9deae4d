//! The feed's errors, and the problems that clients get for them.

use blocks::error::BoxError;
use blocks::{AsProblem, FieldErrors, Problem};
use sql::StoreError;

/// A reason why a stream was not shown.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The request breaks a rule.
    #[error(transparent)]
    Refused(#[from] FieldErrors),
    /// The streams are not public here, and nobody is signed in.
    #[error("the activity stream is not public here")]
    NotPublic,
    /// The read model can't be reached.
    #[error("the feed's store is unavailable")]
    Unavailable(#[source] BoxError),
    /// The read model refused: a mistake of ours, which a retry does not mend.
    #[error("the feed's store failed")]
    Failed(#[source] BoxError),
}

impl From<StoreError> for FeedError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(cause) => Self::Unavailable(cause),
            other => Self::Failed(other.into()),
        }
    }
}

impl AsProblem for FeedError {
    fn problem(&self) -> Problem {
        match self {
            Self::Refused(errors) => errors.problem(),
            Self::NotPublic => Problem::unauthorized(
                "unauthenticated",
                "the activity stream is not public here: send an access token as Authorization: Bearer",
            ),
            Self::Unavailable(_) => Problem::unavailable("store_unavailable").retry_after(1),
            Self::Failed(_) => Problem::internal(),
        }
    }
}

blocks::problem_response!(FeedError);
