//! The errors of profiles, and the problems that clients get for them.

use blocks::extract::KeyRefused;
use blocks::{AsProblem, FieldErrors, Problem};
use sql::{StoreError, accounts};

/// A reason why a request about profiles failed.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The request breaks a rule.
    #[error(transparent)]
    Refused(#[from] FieldErrors),
    /// There is no such profile.
    #[error("no such profile")]
    NotFound,
    /// The account has a profile already.
    #[error("the account has a profile")]
    Exists,
    /// The account was closed, but its token is still valid.
    #[error(transparent)]
    AccountDeleted(#[from] accounts::Closed),
    /// Something is wrong with the request's key.
    #[error(transparent)]
    Key(#[from] KeyRefused),
    /// The store failed.
    #[error("profile store failed")]
    Store(#[from] StoreError),
}

impl AsProblem for ProfileError {
    fn problem(&self) -> Problem {
        match self {
            Self::Refused(errors) => errors.problem(),
            Self::NotFound => Problem::not_found("profile_not_found", "there is no such profile"),
            Self::Exists => Problem::bad_request(
                "profile_exists",
                "this account has a profile already; change it with PUT",
            ),
            Self::AccountDeleted(closed) => closed.problem(),
            Self::Key(refused) => refused.problem(),
            Self::Store(error) => error.problem(),
        }
    }
}
blocks::problem_response!(ProfileError);
