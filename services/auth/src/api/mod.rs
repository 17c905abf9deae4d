//! Auth over HTTP.

mod accounts;
mod bodies;
mod links;
mod oidc;
mod sessions;
mod users;
mod validate;

use utoipa::openapi::PathItem;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};
use utoipa_axum::routes;

use crate::Auth;
pub(crate) use users::Wanted;

/// The answer to an action without a result.
#[derive(serde::Serialize, utoipa::ToSchema)]
struct Done {
    /// The action, for people.
    message: &'static str,
}

/// The answer to an action that ends sessions.
#[derive(serde::Serialize, utoipa::ToSchema)]
struct Ended {
    /// The action, for people.
    message: &'static str,
    /// The number of sessions that lived until then.
    ended: usize,
}

/// All endpoints. Those of accounts are there a second time, under the short paths of an older system.
pub fn router(auth: Auth) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(accounts::register))
        .routes(routes!(
            accounts::me,
            accounts::change_me,
            accounts::close_me
        ))
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::get, users::change, users::delete))
        .routes(routes!(users::by_email))
        .routes(routes!(users::erasure))
        .routes(under("/users", routes!(users::list)))
        .routes(routes!(users::join))
        .routes(under(
            "/users/{id}",
            routes!(users::get, users::change, users::delete),
        ))
        .routes(routes!(sessions::login))
        .routes(under("/users/login", routes!(sessions::login)))
        .routes(routes!(sessions::refresh))
        .routes(routes!(sessions::logout))
        .routes(routes!(accounts::change_password))
        .routes(routes!(links::forgot))
        .routes(routes!(links::reset))
        .routes(routes!(links::verify))
        .routes(routes!(links::resend))
        .routes(routes!(sessions::list))
        .routes(routes!(sessions::end_others))
        .routes(routes!(sessions::end))
        .routes(routes!(oidc::providers))
        .routes(routes!(oidc::start))
        .routes(routes!(oidc::callback))
        .routes(routes!(oidc::exchange))
        .routes(routes!(validate::validate))
        .routes(routes!(validate::jwks))
        .with_state(auth)
}

/// The same endpoints under another path.
fn under(
    path: &str,
    (schemas, mut paths, methods): UtoipaMethodRouter<Auth>,
) -> UtoipaMethodRouter<Auth> {
    let named = |mut item: PathItem| {
        let operations = [
            &mut item.get,
            &mut item.post,
            &mut item.put,
            &mut item.delete,
        ];
        for operation in operations.into_iter().flatten() {
            let id = operation.operation_id.take();
            operation.operation_id = id.map(|id| id + "_short");
        }
        (path.to_owned(), item)
    };
    paths.paths = paths.paths.into_values().map(named).collect();
    (schemas, paths, methods)
}
