//! The endpoints for opening an account, and for one's own.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use blocks::extract::{IfNoneMatch, Patch, Tagged, ValidJson, Whole};
use blocks::{Caller, Mediator, Role};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Auth;
use crate::commands::{ChangeAccount, OpenAccount};
use crate::domain::{Account, AccountChange, Registration};
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

/// A change of one's own account: any subset; absent fields stay.
#[derive(Deserialize, ToSchema)]
pub(super) struct ChangeMe {
    /// The new name; it can't be cleared.
    #[serde(default)]
    #[schema(
        value_type = String,
        min_length = 3,
        max_length = 32,
        pattern = "^[A-Za-z0-9_.-]+$"
    )]
    username: Patch<String>,
    /// The new full name; null or a blank one clears it.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 200)]
    full_name: Patch<String>,
    /// The new age; null clears it.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 150)]
    age: Patch<Whole>,
}

/// An account.
#[derive(Serialize, ToSchema)]
pub(super) struct AccountView {
    /// Never used twice.
    id: i64,
    /// The mail address.
    email: String,
    /// As its owner writes it.
    username: String,
    /// Any name.
    full_name: Option<String>,
    /// In years.
    age: Option<i64>,
    /// The role, which decides about permissions.
    role: Role,
    /// When it was opened: RFC 3339.
    #[schema(format = DateTime)]
    created_at: String,
    /// When name or age last changed: RFC 3339.
    #[schema(format = DateTime)]
    updated_at: String,
}

impl From<Account> for AccountView {
    fn from(account: Account) -> Self {
        Self {
            id: account.id,
            email: account.email,
            username: account.username,
            full_name: account.full_name,
            age: account.age,
            role: account.role,
            created_at: events::timestamp(account.created_at),
            updated_at: events::timestamp(account.updated_at),
        }
    }
}

/// Opens an account.
#[utoipa::path(
    post, path = "/api/auth/register", operation_id = "auth.register", tag = "auth",
    request_body = Register,
    responses(
        (status = 201, description = "opened", body = AccountView),
        (status = 400, description = "`user_exists`: the e-mail address or the name is taken"),
        (status = 503, description = "`busy`: too many at once"),
    )
)]
pub(super) async fn register(
    State(auth): State<Auth>,
    ValidJson(new): ValidJson<Register>,
) -> Result<(StatusCode, Json<AccountView>), AuthError> {
    let new = Registration {
        email: new.email,
        username: new.username,
        password: new.password,
        full_name: new.full_name,
        age: new.age.map(|Whole(age)| age),
    };
    let (new, role) = (new.check()?, Role::User);
    let account = auth.send(OpenAccount { new, role }).await?;
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

/// Changes the caller's name, full name or age.
#[utoipa::path(
    put, path = "/api/auth/me", operation_id = "auth.change_me", tag = "auth",
    request_body = ChangeMe,
    responses(
        (status = 200, description = "the account after the change", body = AccountView),
        (status = 400, description = "`user_exists`: the name is taken"),
    )
)]
pub(super) async fn change_me(
    State(auth): State<Auth>,
    by: Caller,
    ValidJson(change): ValidJson<ChangeMe>,
) -> Result<Json<AccountView>, AuthError> {
    let age = change.age.map(|Whole(age)| age);
    let change = AccountChange::check(change.username, change.full_name, age)?;
    let account = auth.send(ChangeAccount { by, change }).await?;
    Ok(Json(account.into()))
}
