//! What can go wrong, and what a client is told of it.

use blocks::{AsProblem, FieldErrors, Problem};
use http::StatusCode;
use sql::StoreError;

use crate::passwords::PasswordError;

/// Why a command or a query was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// Something in the request is not as it must be.
    #[error(transparent)]
    Refused(#[from] FieldErrors),
    /// Another account has the address or the name in this field.
    #[error("{0} is taken")]
    Taken(&'static str),
    /// No such account, or not its password: which one is not told.
    #[error("wrong credentials")]
    BadCredentials,
    /// Too many wrong passwords for one account, whether or not there is such an account.
    #[error("too many attempts")]
    TooManyAttempts {
        /// When it may be tried again, in seconds.
        retry_after: u32,
    },
    /// None that lives, or not the caller's.
    #[error("no such session")]
    NoSession,
    /// It was closed while its token still held.
    #[error("the account is gone")]
    NoAccount,
    /// The password could not be worked on.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The store did not do it.
    #[error("auth store failed")]
    Store(#[from] StoreError),
}

impl AsProblem for AuthError {
    fn problem(&self) -> Problem {
        match self {
            Self::Refused(errors) => errors.problem(),
            Self::Taken(field) => {
                Problem::bad_request("user_exists", format!("this {field} is taken"))
                    .with_errors(FieldErrors::one(field, "is taken"))
            }
            Self::BadCredentials => {
                Problem::unauthorized("bad_credentials", "the account or the password is wrong")
            }
            Self::TooManyAttempts { retry_after } => Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_attempts",
                "too many wrong passwords for this account; try again later",
            )
            .retry_after(*retry_after),
            Self::NoSession => Problem::not_found("session_not_found", "you have no such session"),
            Self::NoAccount => Problem::unauthorized("invalid_token", "the account is closed"),
            Self::Password(PasswordError::Busy) => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "too many logins at once; try again shortly",
            )
            .retry_after(1),
            Self::Password(PasswordError::Hash(_)) => Problem::internal(),
            Self::Store(error) => error.problem(),
        }
    }

    /// A flood of logins must not become a flood of errors in the log; the queue tells of it.
    fn is_fault(&self) -> bool {
        !matches!(self, Self::Password(PasswordError::Busy))
    }
}

blocks::problem_response!(AuthError);

/// Why auth can't start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No key can be made of it.
    #[error(
        "SECRET_KEY must have at least {least} bytes; `openssl rand -base64 32` makes a good one"
    )]
    WeakSecretKey {
        /// How many it takes.
        least: usize,
    },
    /// Not the one of last time.
    #[error(
        "SECRET_KEY does not open the stored signing keys: set the one they were stored with, or \
         delete the rows of signing_keys, which ends every session"
    )]
    WrongSecretKey,
    /// The password parameters make no hash.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// A signing key can't be made.
    #[error("could not make a signing key")]
    Key(#[from] blocks::identity::KeyError),
    /// The system gives no thread for hashing.
    #[error("could not start the threads that hash passwords")]
    Thread(#[source] std::io::Error),
    /// The store can't be asked.
    #[error("could not read the auth store")]
    Store(#[from] StoreError),
}
