//! Why a token or an assertion was not believed.

use crate::error::BoxError;
use crate::problem::{AsProblem, Problem};

/// The reason why an identity is not believed.
#[derive(Debug, thiserror::Error)]
pub enum AuthRefusal {
    /// Not a token, or not of the kind that is wanted here.
    #[error("the token is malformed")]
    Malformed,
    /// Signed in a way nobody here signs.
    #[error("the token's algorithm is not EdDSA")]
    Algorithm,
    /// Signed by a key nobody here knows.
    #[error("the token names an unknown key")]
    UnknownKey,
    /// The signature is not that key's.
    #[error("the token's signature is wrong")]
    Signature,
    /// Made by somebody else.
    #[error("the token is of another issuer")]
    Issuer,
    /// Made for somebody else.
    #[error("the token is for another audience")]
    Audience,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// Its session was ended.
    #[error("the session was ended")]
    Revoked,
    /// Nobody can say now.
    #[error("identity can't be checked now")]
    Unavailable(#[source] BoxError),
}

impl AsProblem for AuthRefusal {
    fn problem(&self) -> Problem {
        let detail = match self {
            Self::Malformed => "the access token is malformed",
            // Which check a forgery failed is no business of the forger.
            Self::Algorithm
            | Self::UnknownKey
            | Self::Signature
            | Self::Issuer
            | Self::Audience => "the access token is not one of ours",
            Self::Expired => "the access token has expired: log in again",
            Self::NotYetValid => "the access token is not valid yet",
            Self::Revoked => "the session was ended: log in again",
            Self::Unavailable(_) => return Problem::unavailable("auth_unavailable").retry_after(1),
        };
        Problem::unauthorized("invalid_token", detail)
    }
}

crate::problem_response!(AuthRefusal);
