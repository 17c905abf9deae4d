//! The endpoints for links that are mailed.

use std::convert::Infallible;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use blocks::extract::{ClientAddress, NoBody, ValidJson};
use blocks::{Caller, FieldErrors, Mediator};
use http::StatusCode;
use http::header::ACCEPT_LANGUAGE;
use http::request::Parts;
use mail::Language;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Done, Ended};
use crate::Auth;
use crate::client::Client;
use crate::commands::{ForgotPassword, ResendVerification, ResetPassword, VerifyEmail};
use crate::domain::EmailAddress;
use crate::error::AuthError;

/// The language that the client's user reads, of those that mails are written in.
pub(super) struct ReadsIn(pub Option<Language>);

impl<S: Send + Sync> FromRequestParts<S> for ReadsIn {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let header = parts.headers.get(ACCEPT_LANGUAGE);
        let header = header.and_then(|header| header.to_str().ok());
        Ok(Self(header.and_then(Language::accepted)))
    }
}

/// The address of an account whose password was forgotten.
#[derive(Deserialize, ToSchema)]
pub(super) struct Forgot {
    /// The mail address, in any case. Blanks around it are dropped.
    #[schema(
        example = "ada@example.org",
        format = "email",
        max_length = 254,
        pattern = r"^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*@([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$"
    )]
    email: String,
}

/// A new password, by a link.
#[derive(Deserialize, ToSchema)]
pub(super) struct Reset {
    /// The token in the link that was mailed.
    token: String,
    /// 8 to 1,024 bytes, all of which count, and not easy to guess.
    #[schema(
        min_length = 8,
        max_length = 1024,
        // A character has up to four bytes.
        extensions(("x-schema" = json!({"anyOf": [{"maxLength": 256}, {"pattern": "^[\\u0001-\\u007f]*$"}]})))
    )]
    new_password: String,
}

/// The proof that mail arrives.
#[derive(Deserialize, ToSchema)]
pub(super) struct Verify {
    /// The token in the link that was mailed.
    token: String,
}

/// Mails a link for a new password to whoever has the address. The answer is the same whether or not anybody has.
#[utoipa::path(
    post, path = "/api/auth/password/forgot", operation_id = "auth.forgot_password", tag = "auth",
    request_body = Forgot,
    responses(
        (status = 202, description = "if there is such an account, it gets a link that holds for an hour", body = Done),
        (status = 429, description = "`too_many_attempts`: too many from this client"),
    )
)]
pub(super) async fn forgot(
    State(auth): State<Auth>,
    client: ClientAddress,
    ReadsIn(language): ReadsIn,
    ValidJson(Forgot { email }): ValidJson<Forgot>,
) -> Result<(StatusCode, Json<Done>), AuthError> {
    let email = EmailAddress::parse(&email).map_err(|why| FieldErrors::one("email", why))?;
    let command = ForgotPassword {
        email,
        client,
        language,
    };
    auth.send(command).await?;
    Ok((
        StatusCode::ACCEPTED,
        Json(Done {
            message: "If there is an account with this address, a link is on its way to it",
        }),
    ))
}

/// Sets a new password by a link that was mailed, and ends all sessions of the account. A link works once.
#[utoipa::path(
    post, path = "/api/auth/password/reset", operation_id = "auth.reset_password", tag = "auth",
    request_body = Reset,
    responses(
        (status = 200, description = "changed", body = Ended),
        (status = 400, description = "`validation_failed`: why the token can't be used; `password_too_weak`: with advice"),
        (status = 503, description = "`busy`: too many at once"),
    )
)]
pub(super) async fn reset(
    State(auth): State<Auth>,
    client: Client,
    ValidJson(Reset {
        token,
        new_password: new,
    }): ValidJson<Reset>,
) -> Result<Json<Ended>, AuthError> {
    let ended = auth.send(ResetPassword { token, new, client }).await?;
    Ok(Json(Ended {
        message: "Password changed successfully",
        ended,
    }))
}

/// Verifies an e-mail address by a link that was mailed to it. A link works once, within 24 hours.
#[utoipa::path(
    post, path = "/api/auth/email/verify", operation_id = "auth.verify_email", tag = "auth",
    request_body = Verify,
    responses(
        (status = 200, description = "verified", body = Done),
        (status = 400, description = "`validation_failed`: why the token can't be used"),
        (status = 409, description = "`user_exists`: another account has the address by now"),
    )
)]
pub(super) async fn verify(
    State(auth): State<Auth>,
    ValidJson(Verify { token }): ValidJson<Verify>,
) -> Result<Json<Done>, AuthError> {
    auth.send(VerifyEmail { token }).await?;
    Ok(Json(Done {
        message: "Address verified",
    }))
}

/// Mails another link to the caller's address that is to be verified.
#[utoipa::path(
    post, path = "/api/auth/email/resend", operation_id = "auth.resend_verification", tag = "auth",
    responses(
        (status = 202, description = "on its way", body = Done),
        (status = 403, description = "`too_many_attempts`: too many mails to one account"),
        (status = 409, description = "`email_verified`: there is none to be verified"),
    )
)]
pub(super) async fn resend(
    State(auth): State<Auth>,
    by: Caller,
    ReadsIn(language): ReadsIn,
    _: NoBody,
) -> Result<(StatusCode, Json<Done>), AuthError> {
    auth.send(ResendVerification { by, language }).await?;
    Ok((
        StatusCode::ACCEPTED,
        Json(Done {
            message: "A link is on its way",
        }),
    ))
}
