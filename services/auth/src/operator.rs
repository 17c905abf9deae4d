//! The operators' routes of auth.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use blocks::extract::ValidJson;
use blocks::{Mediator, Role};
use serde::{Deserialize, Serialize};

use crate::commands::OpenAccount;
use crate::{Auth, AuthError, Registration};

/// An account to be opened, as at `POST /admins`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewAdmin {
    /// The mail address, unique whatever its case.
    pub email: String,
    /// The username, unique whatever its case.
    pub username: String,
    /// The password: 8 to 1,024 bytes.
    pub password: String,
}

/// An account that was opened.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AdminView {
    /// The account's number.
    pub id: i64,
    /// The account's name.
    pub username: String,
}

pub(crate) fn router(auth: Auth) -> Router {
    Router::new()
        .route("/admins", post(create_admin))
        .with_state(auth)
}

async fn create_admin(
    State(auth): State<Auth>,
    ValidJson(new): ValidJson<NewAdmin>,
) -> Result<Json<AdminView>, AuthError> {
    let account = Registration {
        email: new.email,
        username: new.username,
        password: new.password,
        full_name: None,
        age: None,
    };
    let new = account.check()?;
    let role = Role::Admin;
    let opened = auth.send(OpenAccount { new, role }).await?;
    Ok(Json(AdminView {
        id: opened.id,
        username: opened.username,
    }))
}
