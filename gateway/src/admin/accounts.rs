//! Accounts that an operator opens.

use std::sync::Arc;

use auth::{Auth, NewAccount};
use axum::Json;
use axum::extract::State;
use blocks::config::Secret;
use blocks::error::chain;
use blocks::extract::ValidJson;
use blocks::{Clock, Problem};
use sql::Db;

use super::view::{AdminView, NewAdmin};
use super::{Admin, refused};

/// Who opens accounts.
#[derive(Clone)]
pub enum Accounts {
    /// The auth of this process.
    Open(Auth),
    /// One that is made when it is needed: only then must the secret key be known.
    Keyed {
        /// The accounts.
        db: Db,
        /// Opens the stored signing keys (`SECRET_KEY`).
        secret: Option<Secret>,
        /// The time.
        clock: Arc<dyn Clock>,
    },
}

impl Accounts {
    async fn auth(&self) -> Result<Auth, Problem> {
        match self {
            Self::Open(auth) => Ok(auth.clone()),
            Self::Keyed { db, secret, clock } => {
                let secret = secret.as_ref().ok_or_else(|| {
                    let why = "SECRET_KEY is not set: it is the one that auth was started with";
                    Problem::bad_request("secret_key_missing", why)
                })?;
                let settings = auth::Settings::new(secret.expose());
                let opened = Auth::open(db.clone(), settings, Arc::clone(clock)).await;
                opened.map_err(|error| Problem::bad_request("auth_not_opened", chain(&error)))
            }
        }
    }
}

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
    let auth = admin.accounts.auth().await?;
    let opened = auth.create_admin(account).await;
    let opened = opened.map_err(|error| refused(&error))?;
    Ok(Json(AdminView {
        id: opened.id,
        username: opened.username,
    }))
}
