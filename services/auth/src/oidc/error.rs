//! The reasons why nobody was signed in, and the problems that browsers get for them.

use blocks::{AsProblem, Problem};
use http::StatusCode;

use crate::error::OpenError;

/// A reason why nobody was signed in.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// No provider has this name.
    #[error("no such provider")]
    NoProvider,
    /// The state is not that of an attempt of this browser, or it took too long, or has brought somebody in already.
    #[error("no such attempt")]
    NoAttempt,
    /// Whoever was asked refused.
    #[error("consent was refused")]
    AccessDenied,
    /// The provider must ask somebody, and was told not to.
    #[error("the provider has to ask")]
    InteractionRequired,
    /// The provider refused by another code.
    #[error("refused by the provider: {0}")]
    Refused(String),
    /// The provider does not take the code.
    #[error("the code is refused")]
    CodeRefused,
    /// The ID token has another nonce.
    #[error("the ID token is not for this attempt")]
    Nonce,
    /// The ID token can't be trusted.
    #[error("the ID token is refused: {0}")]
    Token(String),
    /// The provider does not tell the address.
    #[error("no e-mail address")]
    NoEmail,
    /// The provider's address is none.
    #[error("not an e-mail address")]
    BadEmail,
    /// An account has the address, and may not be linked.
    #[error("the address belongs to an account")]
    EmailTaken,
    /// The code is not one to exchange: unknown, used, or too old.
    #[error("no such code")]
    NoCode,
    /// The provider did not answer, or not in time.
    #[error("could not ask the provider")]
    Away(#[source] http_client::Error),
    /// The provider answered what it should not.
    #[error("the provider answered rubbish: {0}")]
    Rubbish(String),
    /// The system gives no random bytes.
    #[error("could not seal an attempt")]
    Random(#[source] OpenError),
}

impl OidcError {
    /// The reason that a provider gives by `code` (RFC 6749, OpenID Connect Core 3.1.2.6).
    pub fn of(code: &str) -> Self {
        match code {
            "access_denied" => Self::AccessDenied,
            "login_required"
            | "interaction_required"
            | "consent_required"
            | "account_selection_required" => Self::InteractionRequired,
            _ => {
                let plain = |c: &char| c.is_ascii_lowercase() || *c == '_';
                Self::Refused(code.chars().filter(plain).take(40).collect())
            }
        }
    }
}

impl AsProblem for OidcError {
    fn problem(&self) -> Problem {
        match self {
            Self::NoProvider => {
                Problem::not_found("provider_not_found", "no provider has this name")
            }
            Self::NoAttempt => Problem::bad_request(
                "oidc_state_invalid",
                "this sign-in was not begun in this browser, took too long, or is over; begin again",
            ),
            Self::AccessDenied => Problem::forbidden(
                "oidc_access_denied",
                "the provider was not allowed to sign you in; begin again to allow it",
            ),
            Self::InteractionRequired => Problem::forbidden(
                "oidc_interaction_required",
                "the provider has to ask something; begin again without prompt=none",
            ),
            Self::Refused(code) => {
                Problem::forbidden("oidc_refused", format!("the provider refused: {code}"))
            }
            Self::CodeRefused => Problem::bad_request(
                "oidc_code_refused",
                "the provider does not take its code any more; begin again",
            ),
            Self::Nonce => Problem::bad_request(
                "oidc_nonce_invalid",
                "the provider's answer is not for this sign-in; begin again",
            ),
            Self::Token(_) => Problem::new(
                StatusCode::BAD_GATEWAY,
                "oidc_token_refused",
                "the provider's answer can't be trusted; the trace id finds the reason in the log",
            ),
            Self::NoEmail => Problem::forbidden(
                "oidc_email_missing",
                "the provider does not tell your e-mail address, without which there is no account; allow it to, or register",
            ),
            Self::BadEmail => Problem::forbidden(
                "oidc_email_invalid",
                "the provider's e-mail address of yours is none that an account can have; register with another",
            ),
            Self::EmailTaken => Problem::conflict(
                "email_taken",
                "an account has this e-mail address, and can't be linked: it must be verified on both sides, and be \
                 linked to nobody else of this provider; log in by password",
            ),
            Self::NoCode => Problem::not_found(
                "oidc_code_not_found",
                "this code is unknown, used, or more than a minute old; begin again",
            ),
            Self::Away(error) => error.problem(),
            Self::Rubbish(_) => Problem::new(
                StatusCode::BAD_GATEWAY,
                "upstream_failed",
                "another service did not answer as expected",
            ),
            Self::Random(_) => Problem::internal(),
        }
    }

    fn is_fault(&self) -> bool {
        !matches!(self, Self::Away(error) if !error.is_fault())
    }
}
