//! The errors of posts, and the problems that clients get for them.

use blocks::extract::KeyRefused;
use blocks::{AsProblem, FieldErrors, Problem};
use sql::{StoreError, accounts};

/// A reason why a request about posts failed.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// The request breaks a rule.
    #[error(transparent)]
    Refused(#[from] FieldErrors),
    /// There is no such post, or it was deleted.
    #[error("no such post")]
    NotFound,
    /// The post belongs to somebody else.
    #[error("the post belongs to somebody else")]
    NotYours,
    /// The account was closed, but its token is still valid.
    #[error(transparent)]
    AccountDeleted(#[from] accounts::Closed),
    /// Something is wrong with the request's key.
    #[error(transparent)]
    Key(#[from] KeyRefused),
    /// Others changed the post too often meanwhile.
    #[error("the post is being changed by others")]
    Contended,
    /// The store failed.
    #[error("post store failed")]
    Store(#[from] StoreError),
}

impl AsProblem for PostError {
    fn problem(&self) -> Problem {
        match self {
            Self::Refused(errors) => errors.problem(),
            Self::NotFound => Problem::not_found("post_not_found", "there is no such post"),
            Self::NotYours => Problem::forbidden(
                "forbidden",
                "only its author or an admin may change or delete a post",
            ),
            Self::AccountDeleted(closed) => closed.problem(),
            Self::Key(refused) => refused.problem(),
            Self::Contended => Problem::conflict(
                "post_contended",
                "others keep changing this post; read it and try again",
            )
            .retry_after(1),
            Self::Store(error) => error.problem(),
        }
    }
}
blocks::problem_response!(PostError);
