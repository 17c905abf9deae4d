//! The endpoints for opening an account, and for one's own.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use blocks::extract::{IfNoneMatch, Tagged, ValidJson, Whole};
use blocks::{Caller, Mediator};
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::bodies::{AccountView, UserChange};
use super::links::ReadsIn;
use super::{Done, Ended};
use crate::Auth;
use crate::commands::{ChangeAccount, ChangePassword, CloseAccount, OpenAccount};
use crate::domain::{Registration, WantedChange};
use crate::error::AuthError;
use crate::queries::ReadAccount;

/// A new account.
#[derive(Deserialize, ToSchema)]
pub(super) struct Register {
    /// The mail address, unique in any case. Blanks around it are dropped.
    #[schema(
        example = "ada@example.org",
        format = "email",
        max_length = 254,
        pattern = r"^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*@([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$"
    )]
    email: String,
    /// Letters, digits, `_`, `.` and `-`; unique in any case.
    #[schema(
        example = "ada",
        min_length = 3,
        max_length = 32,
        pattern = "^[A-Za-z0-9_.-]+$"
    )]
    username: String,
    /// 8 to 1,024 bytes, all of which count.
    #[schema(
        example = "correct horse battery",
        min_length = 8,
        max_length = 1024,
        // A character has up to four bytes.
        extensions(("x-schema" = json!({"anyOf": [{"maxLength": 256}, {"pattern": "^[\\u0001-\\u007f]*$"}]})))
    )]
    password: String,
    /// Any name; a blank one is none.
    #[schema(max_length = 200)]
    full_name: Option<String>,
    /// In years.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 150)]
    age: Option<Whole>,
}

/// The password of one's own account, which is to be closed.
#[derive(Deserialize, ToSchema)]
pub(super) struct CloseMe {
    /// The account's password.
    #[schema(
        min_length = 1,
        max_length = 1024,
        // A character has up to four bytes.
        extensions(("x-schema" = json!({"anyOf": [{"maxLength": 256}, {"pattern": "^[\\u0001-\\u007f]*$"}]})))
    )]
    password: String,
}

/// A new password for the own account.
#[derive(Deserialize, ToSchema)]
pub(super) struct NewPassword {
    /// The password so far.
    #[schema(
        min_length = 1,
        max_length = 1024,
        // A character has up to four bytes.
        extensions(("x-schema" = json!({"anyOf": [{"maxLength": 256}, {"pattern": "^[\\u0001-\\u007f]*$"}]})))
    )]
    current_password: String,
    /// 8 to 1,024 bytes, all of which count, and not easy to guess.
    #[schema(
        min_length = 8,
        max_length = 1024,
        // A character has up to four bytes.
        extensions(("x-schema" = json!({"anyOf": [{"maxLength": 256}, {"pattern": "^[\\u0001-\\u007f]*$"}]})))
    )]
    new_password: String,
}

/// Opens an account.
#[utoipa::path(
    post, path = "/api/auth/register", operation_id = "auth.register", tag = "auth",
    request_body = Register,
    responses(
        (status = 201, description = "opened", body = AccountView),
        (status = 400, description = "`user_exists`: the e-mail address or the name is taken; `password_too_weak`: with advice"),
        (status = 503, description = "`busy`: too many at once"),
    )
)]
pub(super) async fn register(
    State(auth): State<Auth>,
    ReadsIn(language): ReadsIn,
    ValidJson(new): ValidJson<Register>,
) -> Result<(StatusCode, Json<AccountView>), AuthError> {
    let new = Registration {
        full_name: new.full_name,
        age: new.age.map(|Whole(age)| age),
        language,
        ..Registration::new(new.email, new.username, new.password)
    };
    let new = new.check()?;
    let account = auth.send(OpenAccount { new, once: None }).await?;
    Ok((StatusCode::CREATED, Json(account.into())))
}

/// Shows the caller's account.
#[utoipa::path(
    get, path = "/api/auth/me", operation_id = "auth.me", tag = "auth",
    params(IfNoneMatch),
    responses(
        (status = 200, description = "the account", body = AccountView),
    )
)]
pub(super) async fn me(
    State(auth): State<Auth>,
    by: Caller,
    seen: IfNoneMatch,
) -> Result<Response, AuthError> {
    let account = auth.ask(ReadAccount { by }).await?;
    Ok(seen.answer(Tagged::json(&AccountView::from(account))))
}

/// Changes the caller's account: any subset of its fields.
///
/// Where mails are sent, a new e-mail address counts once the link that is mailed to it was followed.
#[utoipa::path(
    put, path = "/api/auth/me", operation_id = "auth.change_me", tag = "auth",
    request_body = UserChange,
    responses(
        (status = 200, description = "the account after the change", body = AccountView),
        (status = 400, description = "`user_exists`: the e-mail address or the name is taken"),
        (status = 403, description = "`forbidden`: the field that is for admins to change; `too_many_attempts`: of new addresses"),
        (status = 409, description = "`last_admin`: there would be no admin any more"),
    )
)]
pub(super) async fn change_me(
    State(auth): State<Auth>,
    by: Caller,
    ValidJson(change): ValidJson<UserChange>,
) -> Result<Json<AccountView>, AuthError> {
    let (id, change) = (by.id, WantedChange::from(change).check()?);
    let by = Some(by);
    let account = auth.send(ChangeAccount { by, id, change }).await?;
    Ok(Json(account.into()))
}

/// Changes the caller's password, and ends all other sessions.
#[utoipa::path(
    put, path = "/api/auth/password", operation_id = "auth.change_password", tag = "auth",
    request_body = NewPassword,
    responses(
        (status = 200, description = "changed", body = Ended),
        (status = 400, description = "`password_too_weak`: with advice"),
        (status = 403, description = "`wrong_password`, or `too_many_attempts` after many of them"),
        (status = 503, description = "`busy`: too many at once"),
    )
)]
pub(super) async fn change_password(
    State(auth): State<Auth>,
    by: Caller,
    ValidJson(passwords): ValidJson<NewPassword>,
) -> Result<Json<Ended>, AuthError> {
    let command = ChangePassword {
        id: by.id,
        proof: Some((by, passwords.current_password)),
        new: passwords.new_password,
    };
    let ended = auth.send(command).await?;
    Ok(Json(Ended {
        message: "Password changed successfully",
        ended,
    }))
}

/// Closes the caller's account for ever. Its posts and all that services hold of it are erased.
#[utoipa::path(
    delete, path = "/api/auth/me", operation_id = "auth.close_me", tag = "auth",
    request_body = CloseMe,
    responses(
        (status = 200, description = "closed", body = Done),
        (status = 403, description = "`wrong_password`, or `too_many_attempts` after many of them"),
        (status = 409, description = "`last_admin`: there would be no admin any more"),
        (status = 503, description = "`busy`: too many at once"),
    )
)]
pub(super) async fn close_me(
    State(auth): State<Auth>,
    by: Caller,
    ValidJson(CloseMe { password }): ValidJson<CloseMe>,
) -> Result<Json<Done>, AuthError> {
    let id = by.id;
    let proof = Some((by, password));
    auth.send(CloseAccount { id, proof }).await?;
    Ok(Json(Done {
        message: "Account deleted successfully",
    }))
}
