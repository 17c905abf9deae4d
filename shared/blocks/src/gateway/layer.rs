//! The layer that every request of the process passes.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use http::Method;
use http::request::Parts;

use super::{Authenticator, Table};
use crate::identity::{bearer, headers};
use crate::problem::{AsProblem, Logged, Problem};
use crate::{Caller, Mode, Role};

/// The rules, and whom to ask.
#[derive(Clone)]
pub struct Gateway {
    table: Arc<Table>,
    auth: Arc<dyn Authenticator>,
}

impl Gateway {
    /// Applies `table`, asking `auth` whose a token is.
    pub fn new(table: Table, auth: Arc<dyn Authenticator>) -> Self {
        Self {
            table: Arc::new(table),
            auth,
        }
    }

    /// Puts the gateway in front of `router`, whose routes are all there: what is added later is not
    /// behind it.
    pub fn wrap(self, router: Router) -> Router {
        router.layer(from_fn_with_state(self, pass))
    }

    /// The cause of a 5xx is logged here, as the problem does not tell it.
    async fn judge(&self, request: &Parts) -> Result<Option<Caller>, Problem> {
        let Some(path) = request.extensions.get::<MatchedPath>() else {
            return Ok(None); // no route: the fallback answers
        };
        // A method without a rule has no handler either; should there be one, it finds no caller.
        let mode = self
            .table
            .mode(path.as_str(), &request.method)
            .unwrap_or(Mode::Strip);
        if mode == Mode::Strip {
            return Ok(None);
        }
        let Some(token) = bearer(&request.headers).map_err(|refusal| refusal.problem())? else {
            return match mode {
                Mode::Required => Err(Problem::unauthorized(
                    "unauthenticated",
                    "send an access token: Authorization: Bearer …",
                )),
                Mode::Optional | Mode::Strip => Ok(None),
            };
        };
        let caller = match self.auth.authenticate(token).await {
            Ok(caller) => caller,
            Err(refusal) => {
                if let super::AuthRefusal::Unavailable(cause) = &refusal {
                    tracing::error!(error = crate::error::chain(&**cause), "auth can't be asked");
                }
                return Err(refusal.problem());
            }
        };
        guest_may(caller.role, &request.method)?;
        Ok(Some(caller))
    }
}

/// Refuses whatever a guest could change.
///
/// # Errors
/// 403 `guest_read_only` for a guest with a method that is not safe.
pub fn guest_may(role: Role, method: &Method) -> Result<(), Problem> {
    if role == Role::Guest && !method.is_safe() {
        return Err(Problem::forbidden(
            "guest_read_only",
            "a guest may only read",
        ));
    }
    Ok(())
}

async fn pass(State(gateway): State<Gateway>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    headers::strip(&mut parts.headers);
    match gateway.judge(&parts).await {
        Ok(Some(caller)) => {
            crate::context::identify(caller.id);
            parts.extensions.insert(caller);
        }
        Ok(None) => {}
        Err(problem) => {
            let logged = problem.status().is_server_error().then_some(Logged);
            return (logged.map(Extension), problem).into_response();
        }
    }
    next.run(Request::from_parts(parts, body)).await
}
