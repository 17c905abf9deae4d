//! What can go wrong, and what clients are told of it.

use blocks::{AsProblem, FieldErrors, Problem};
use sql::StoreError;

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum NoteError {
    #[error(transparent)]
    Refused(#[from] FieldErrors),
    #[error("the account was closed")]
    AccountDeleted,
    #[error("the note store failed")]
    Store(#[from] StoreError),
}

impl AsProblem for NoteError {
    fn problem(&self) -> Problem {
        match self {
            Self::Refused(errors) => errors.problem(),
            Self::AccountDeleted => {
                Problem::forbidden("account_deleted", "this account was closed")
            }
            Self::Store(error) => error.problem(),
        }
    }
}

blocks::problem_response!(NoteError);
