//! The operators' routes of auth.

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use blocks::extract::{Page, ValidJson, ValidPath, ValidQuery};
use blocks::{Mediator, Role};
use serde::{Deserialize, Serialize};

use crate::api::Wanted;
use crate::commands::{
    ChangeAccount, ChangePassword, CloseAccount, ImportAccounts, OpenAccount, RotateKeys,
};
use crate::domain::{Account, AccountChange, Registration};
use crate::import::{Batch, Exported, Imported};
pub use crate::keyring::{KeyState, KeyUse};
use crate::queries::{Erasure, ExportAccounts, ListKeys, ListUsers, ReadErasure, ReadUser, Which};
use crate::{Auth, AuthError};

/// An account to be opened, as at `POST /users`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// The mail address, unique whatever its case.
    pub email: String,
    /// The username, unique whatever its case. Without one it is made of the address.
    pub username: Option<String>,
    /// 8 to 1,024 bytes. Nobody logs in to an account without one.
    pub password: Option<String>,
    /// The role, which says what it may do.
    pub role: Role,
}

/// A change of an account, as at `POST /users/{id}`. An absent field stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserChange {
    /// The new role.
    pub role: Option<Role>,
    /// False ends the account's sessions, and nobody can log in to it.
    pub is_active: Option<bool>,
}

/// A new password, as at `POST /users/{id}/password`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    /// 8 to 1,024 bytes.
    pub new_password: String,
}

/// A wish for a new signing key, as at `POST /keys`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// True takes all others out of use at once.
    pub now: bool,
}

/// A part of the list of accounts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Users {
    /// The accounts, by id.
    pub items: Vec<Account>,
    /// Where the next part begins; `None` on the last one.
    pub next_cursor: Option<String>,
}

pub(crate) fn router(auth: Auth) -> Router {
    Router::new()
        .route("/users", get(list).post(create))
        .route("/users/{id}", get(show).post(change))
        .route("/users/{id}/password", post(set_password))
        .route("/users/{id}/close", post(close))
        .route("/users/{id}/erasure", get(erasure))
        .route("/keys", get(keys).post(rotate_keys))
        .route("/import", post(import))
        .route("/export", get(export))
        .with_state(auth)
}

async fn list(
    State(auth): State<Auth>,
    ValidQuery(wanted): ValidQuery<Wanted>,
    page: Page,
) -> Result<Json<Users>, AuthError> {
    let (filter, sort) = wanted.check()?;
    let found = auth.ask(ListUsers { filter, sort, page }).await?;
    Ok(Json(Users {
        items: found.items,
        next_cursor: found.next_cursor,
    }))
}

async fn create(
    State(auth): State<Auth>,
    ValidJson(new): ValidJson<NewUser>,
) -> Result<Json<Account>, AuthError> {
    let new = Registration {
        username: new.username,
        password: new.password,
        role: new.role,
        ..Registration::at(new.email)
    };
    let (new, once) = (new.check()?, None);
    Ok(Json(auth.send(OpenAccount { new, once }).await?))
}

/// The account with an id, an address or a username.
async fn show(
    State(auth): State<Auth>,
    ValidPath(name): ValidPath<String>,
) -> Result<Json<Account>, AuthError> {
    let which = Which::parse(name);
    Ok(Json(auth.ask(ReadUser { by: None, which }).await?))
}

async fn change(
    State(auth): State<Auth>,
    ValidPath(id): ValidPath<i64>,
    ValidJson(UserChange { role, is_active }): ValidJson<UserChange>,
) -> Result<Json<Account>, AuthError> {
    let change = AccountChange {
        role,
        is_active,
        ..AccountChange::default()
    };
    let by = None;
    Ok(Json(auth.send(ChangeAccount { by, id, change }).await?))
}

/// Sets a password and answers how many sessions that ended.
async fn set_password(
    State(auth): State<Auth>,
    ValidPath(id): ValidPath<i64>,
    ValidJson(NewPassword { new_password: new }): ValidJson<NewPassword>,
) -> Result<Json<usize>, AuthError> {
    let proof = None;
    Ok(Json(auth.send(ChangePassword { id, proof, new }).await?))
}

async fn close(
    State(auth): State<Auth>,
    ValidPath(id): ValidPath<i64>,
) -> Result<Json<()>, AuthError> {
    Ok(Json(auth.send(CloseAccount { id, proof: None }).await?))
}

async fn erasure(
    State(auth): State<Auth>,
    ValidPath(id): ValidPath<i64>,
) -> Result<Json<Erasure>, AuthError> {
    Ok(Json(auth.ask(ReadErasure { id }).await?))
}

async fn keys(State(auth): State<Auth>) -> Result<Json<Vec<KeyState>>, AuthError> {
    Ok(Json(auth.ask(ListKeys).await?))
}

/// Makes a new signing key and answers all of them.
async fn rotate_keys(
    State(auth): State<Auth>,
    ValidJson(Rotation { now }): ValidJson<Rotation>,
) -> Result<Json<Vec<KeyState>>, AuthError> {
    Ok(Json(auth.send(RotateKeys { now }).await?))
}

async fn import(
    State(auth): State<Auth>,
    ValidJson(batch): ValidJson<Batch>,
) -> Result<Json<Imported>, AuthError> {
    Ok(Json(auth.send(ImportAccounts { batch }).await?))
}

/// The place of a page of the export.
#[derive(Deserialize)]
struct After {
    /// The last id of the page before; 0 for the first page.
    after: i64,
}

async fn export(
    State(auth): State<Auth>,
    ValidQuery(After { after }): ValidQuery<After>,
) -> Result<Json<Exported>, AuthError> {
    Ok(Json(auth.ask(ExportAccounts { after }).await?))
}
