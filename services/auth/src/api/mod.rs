//! Auth over HTTP.

mod accounts;
mod sessions;
mod users;
mod validate;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Auth;
pub(crate) use users::Wanted;

/// The answer to an action without a result.
#[derive(serde::Serialize, utoipa::ToSchema)]
struct Done {
    /// The action, for people.
    message: &'static str,
}

/// All endpoints.
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
        .routes(routes!(sessions::login))
        .routes(routes!(sessions::logout))
        .routes(routes!(sessions::list))
        .routes(routes!(sessions::end))
        .routes(routes!(validate::validate))
        .routes(routes!(validate::jwks))
        .with_state(auth)
}
