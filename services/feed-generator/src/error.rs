//! What can go wrong, and what clients are told of it.

use blocks::error::BoxError;
use blocks::{AsProblem, FieldErrors, Problem};
use sql::StoreError;

/// Why a stream was not shown.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The request is not as it must be.
    #[error(transparent)]
    Refused(#[from] FieldErrors),
    /// The streams are not public here, and nobody is signed in.
    #[error("the activity stream is not public here")]
    NotPublic,
    /// The read model can't be reached.
    #[error("the feed's store failed")]
    Unavailable(#[source] BoxError),
}

impl From<StoreError> for FeedError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.into())
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
        }
    }
}

blocks::problem_response!(FeedError);
