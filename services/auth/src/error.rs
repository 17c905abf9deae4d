//! The errors of auth, and the problems that clients get for them.

use blocks::extract::KeyRefused;
use blocks::problem::RateLimit;
use blocks::{AsProblem, FieldErrors, Problem};
use cache::CacheError;
use http::StatusCode;
use sql::StoreError;

use crate::oidc::OidcError;
use crate::passwords::PasswordError;

/// A reason why a command or a query failed.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The request breaks a rule.
    #[error(transparent)]
    Refused(#[from] FieldErrors),
    /// Another account has the address or the name in this field.
    #[error("{0} is taken")]
    Taken(&'static str),
    /// No such account, or a wrong password: clients are not told which.
    #[error("wrong credentials")]
    BadCredentials,
    /// Too many wrong passwords for one account, whether or not there is such an account.
    #[error("too many attempts")]
    TooManyAttempts(RateLimit),
    /// Attempts can't be counted in memory.
    #[error("could not count the attempt")]
    Uncounted(#[from] CacheError),
    /// The account can't be logged in to.
    #[error("the account is not active")]
    Inactive,
    /// No such account, or not for the caller to see.
    #[error("no such user")]
    NoUser,
    /// A number that is the id of one account and the username of another.
    #[error("two accounts go by this")]
    Ambiguous,
    /// Only an admin may do this.
    #[error("only an admin may do this")]
    AdminsOnly,
    /// Only an admin may set this field.
    #[error("only an admin may set {0}")]
    OfAdmins(&'static str),
    /// There would be no admin any more.
    #[error("the last admin")]
    LastAdmin,
    /// The password that a change asks for is wrong.
    #[error("wrong password in {0}")]
    WrongPassword(&'static str),
    /// Such a password was wrong too often. 403, because Traefik answers 429 itself where it asks for a token.
    #[error("too many wrong passwords")]
    PasswordsUsedUp(RateLimit),
    /// Too many mails were asked for, from one place or by nobody known.
    #[error("too many mails were asked for")]
    TooManyMails(RateLimit),
    /// Too many mails were asked for by an account. 403, because Traefik answers 429 itself where it asks for a token.
    #[error("too many mails to one account")]
    MailsUsedUp(RateLimit),
    /// The account's address has to be verified before a login.
    #[error("the address is not verified")]
    Unverified,
    /// There is no address to verify.
    #[error("the address is verified already")]
    Verified,
    /// Since the mail to it was asked for, another account got the address.
    #[error("the address was taken meanwhile")]
    TakenMeanwhile,
    /// A mail can't be made.
    #[error("could not make a mail")]
    Unmade(#[from] MailFault),
    /// The idempotency key is taken.
    #[error(transparent)]
    Key(#[from] KeyRefused),
    /// The refresh token is none, has expired, was exchanged before, or its session has ended: clients are not told which.
    #[error("no refresh token that holds")]
    BadRefreshToken,
    /// Another rotation of the signing keys came first.
    #[error("the signing keys were rotated meanwhile")]
    Rotated,
    /// The signing keys can't be read or made.
    #[error("the signing keys failed")]
    Keys(#[from] OpenError),
    /// The session is not live, or not the caller's.
    #[error("no such session")]
    NoSession,
    /// The account was closed while its token was still valid.
    #[error("the account is gone")]
    NoAccount,
    /// The password could not be checked.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The new password in this field is refused, or could not be hashed.
    #[error("{0}: {1}")]
    NewPassword(&'static str, #[source] PasswordError),
    /// Nobody was signed in by a provider.
    #[error(transparent)]
    Oidc(#[from] OidcError),
    /// The store failed.
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
            Self::TooManyAttempts(limit) => Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_attempts",
                "too many wrong passwords for this account; try again later",
            )
            .rate_limit(*limit),
            Self::Inactive => Problem::forbidden(
                "account_inactive",
                "this account was deactivated; an admin can activate it",
            ),
            Self::NoUser => Problem::not_found("user_not_found", "there is no such user"),
            Self::AdminsOnly => Problem::forbidden("forbidden", "only an admin may do this"),
            Self::OfAdmins(field) => Problem::forbidden("forbidden", "only an admin may set this")
                .with_errors(FieldErrors::one(field, "is for admins to set")),
            Self::LastAdmin => Problem::conflict(
                "last_admin",
                "this is the last active admin; make another account one before",
            ),
            Self::WrongPassword(field) => {
                Problem::forbidden("wrong_password", "the password is wrong")
                    .with_errors(FieldErrors::one(field, "is wrong"))
            }
            Self::Ambiguous => Problem::conflict(
                "user_ambiguous",
                "this is one account's id and another's username; name it by its e-mail address",
            ),
            Self::PasswordsUsedUp(limit) => Problem::forbidden(
                "too_many_attempts",
                "too many wrong passwords for this account; try again later",
            )
            .rate_limit(*limit),
            Self::TooManyMails(limit) => Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_attempts",
                "too many mails were asked for from here; try again later",
            )
            .rate_limit(*limit),
            Self::MailsUsedUp(limit) => Problem::forbidden(
                "too_many_attempts",
                "too many mails were asked for; try again later",
            )
            .rate_limit(*limit),
            Self::Unverified => Problem::forbidden(
                "email_unverified",
                "the address is not verified yet: follow the link that was mailed to it, ask for a new password, or verify it where you sign in",
            ),
            Self::Verified => Problem::conflict(
                "email_verified",
                "this account's address is verified already",
            ),
            Self::TakenMeanwhile => Problem::conflict(
                "user_exists",
                "another account has this address by now; choose another one",
            ),
            Self::Key(refused) => refused.problem(),
            Self::BadRefreshToken => Problem::unauthorized(
                "invalid_refresh_token",
                "the refresh token does not hold any more; log in again",
            ),
            Self::Rotated => Problem::conflict(
                "keys_rotated",
                "somebody else rotated the keys in this moment; look at them first",
            ),
            Self::NoSession => Problem::not_found("session_not_found", "you have no such session"),
            Self::NoAccount => Problem::unauthorized("invalid_token", "the account is closed"),
            Self::NewPassword(field, PasswordError::Weak(weak)) => {
                Problem::bad_request("password_too_weak", weak.advice.clone())
                    .with_errors(FieldErrors::one(field, weak.advice.clone()))
            }
            Self::NewPassword(field, PasswordError::Short(least)) => Problem::validation(
                FieldErrors::one(field, format!("must have at least {least} bytes")),
            ),
            Self::Password(PasswordError::Busy) | Self::NewPassword(_, PasswordError::Busy) => {
                Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "busy",
                    "too many logins at once; try again shortly",
                )
                .retry_after(1)
            }
            Self::Uncounted(_)
            | Self::Unmade(_)
            | Self::Password(_)
            | Self::NewPassword(..)
            | Self::Keys(_) => Problem::internal(),
            Self::Oidc(error) => error.problem(),
            Self::Store(error) => error.problem(),
        }
    }

    /// True for errors to log. A full queue is logged by the queue: a flood of logins must not
    /// flood the log.
    fn is_fault(&self) -> bool {
        match self {
            Self::Password(of) | Self::NewPassword(_, of) => !matches!(of, PasswordError::Busy),
            Self::Oidc(error) => error.is_fault(),
            _ => true,
        }
    }
}

blocks::problem_response!(AuthError);

/// A reason why a mail can't be made.
#[derive(Debug, thiserror::Error)]
pub enum MailFault {
    /// A template, or a value in it.
    #[error("a template can't be filled")]
    Template(#[from] mail::TemplateError),
    /// The system gives no random bytes for a link.
    #[error("there is no token for a link")]
    Token(#[from] blocks::identity::KeyError),
}

/// A reason why auth can't start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The secret key is too short.
    #[error(
        "SECRET_KEY must have at least {least} bytes; `openssl rand -base64 32` makes a good one"
    )]
    WeakSecretKey {
        /// The least number of bytes.
        least: usize,
    },
    /// The secret key is not the one that the stored keys were encrypted under.
    #[error(
        "SECRET_KEY does not open the stored signing keys: set the one they were stored with, or \
         delete the rows of signing_keys, which ends every session"
    )]
    WrongSecretKey,
    /// No stored key signs, and this process makes none.
    #[error("there is no signing key: auth makes one when it starts")]
    NoSigningKey,
    /// The password parameters make no hash.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// A signing key can't be made.
    #[error("could not make a signing key")]
    Key(#[from] blocks::identity::KeyError),
    /// The system gives no thread for hashing.
    #[error("could not start the threads that hash passwords")]
    Thread(#[source] std::io::Error),
    /// A template of mails can't be read.
    #[error("could not read the templates of mails")]
    Templates(#[from] mail::TemplateError),
    /// The store can't be read.
    #[error("could not read the auth store")]
    Store(#[from] StoreError),
}
