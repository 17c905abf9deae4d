//! The errors, and the problems that clients get for them.

use blocks::extract::KeyRefused;
use blocks::{AsProblem, FieldErrors, Problem};
use sql::{StoreError, accounts};

/// A reason why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum NoteError {
    #[error(transparent)]
    Refused(#[from] FieldErrors),
    #[error("no such note")]
    NotFound,
    #[error(transparent)]
    Key(#[from] KeyRefused),
    #[error(transparent)]
    Closed(#[from] accounts::Closed),
    #[error("the note store failed")]
    Store(#[from] StoreError),
}

impl AsProblem for NoteError {
    fn problem(&self) -> Problem {
        match self {
            Self::Refused(errors) => errors.problem(),
            Self::NotFound => Problem::not_found("note_not_found", "there is no such note"),
            Self::Key(refused) => refused.problem(),
            Self::Closed(closed) => closed.problem(),
            Self::Store(error) => error.problem(),
        }
    }
}

blocks::problem_response!(NoteError);
