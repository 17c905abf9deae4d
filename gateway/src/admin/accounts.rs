//! Accounts that an operator opens.

use auth::NewAccount;
use axum::Json;
use axum::extract::State;
use blocks::Problem;
use blocks::extract::ValidJson;

use super::view::{AdminView, NewAdmin};
use super::{Admin, refused};

pub(super) async fn create_admin(
    State(admin): State<Admin>,
    ValidJson(new): ValidJson<NewAdmin>,
) -> Result<Json<AdminView>, Problem> {
    let account = NewAccount {
        email: new.email,
        username: new.username,
        password: new.password,
        full_name: None,
        age: None,
    };
    let opened = admin.auth.create_admin(account).await;
    let opened = opened.map_err(|error| refused(&error))?;
    Ok(Json(AdminView {
        id: opened.id,
        username: opened.username,
    }))
}
