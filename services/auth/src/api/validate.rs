//! Forward-auth: a gateway in front of the fleet asks here before it lets a request pass.

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use blocks::context::{answers_gateway, asks_about};
use blocks::gateway::guest_may;
use blocks::identity::{Jwk, bearer, headers};
use blocks::kit::check_path;
use blocks::{FieldErrors, Problem};
use http::header::CACHE_CONTROL;
use http::request::Parts;
use http::{HeaderName, Method, Uri};
use serde::Serialize;
use utoipa::ToSchema;

use crate::Auth;

const FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// The gateway's mode for a request without a token.
#[derive(PartialEq, ToSchema)]
#[schema(rename_all = "lowercase")]
enum Wanted {
    Required,
    Optional,
}

/// Public keys.
#[derive(Serialize, ToSchema)]
pub(super) struct JwksView {
    /// All that are not retired.
    keys: Vec<Jwk>,
}

/// Names a request's caller, for gateways: judges its bearer token, `X-Forwarded-Method` and the
/// path in `X-Forwarded-Uri`.
///
/// Good: 200 with `X-User-ID`, `X-User-Name`, `X-User-Email`, `X-User-Role` and `X-Identity`, a signed
/// assertion that services verify. With `?mode=optional` a request without a token is good, too, and
/// answered without identity.
#[utoipa::path(
    get, path = "/api/auth/validate", operation_id = "auth.validate", tag = "auth",
    params(("mode" = inline(Option<Wanted>), Query, nullable = false, description = "whether a request without a token is refused")),
    responses(
        (status = 200, description = "may pass"),
        (status = 400, description = "`bad_path`: the path in `X-Forwarded-Uri` could mean two things"),
        (status = 401, description = "`unauthenticated` or `invalid_token`"),
        (status = 403, description = "`guest_read_only`"),
        (status = 503, description = "`auth_unavailable`"),
    )
)]
pub(super) async fn validate(State(auth): State<Auth>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    match judge(&auth, &parts).await {
        Ok(identity) => {
            // Behind a gateway only the gateway can set this header. Elsewhere a client that sets
            // it only gets a shorter answer.
            if parts.headers.contains_key(FORWARDED_URI) {
                answers_gateway();
            }
            identity
        }
        // The client reads this answer.
        Err(refusal) => *refusal,
    }
}

async fn judge(auth: &Auth, parts: &Parts) -> Result<Response, Box<Response>> {
    let refuse = |problem| Box::new(refused(parts, problem));
    let wanted = wanted(parts.uri.query()).map_err(refuse)?;
    check_forwarded_path(parts).map_err(refuse)?;
    let token = bearer(&parts.headers).map_err(|refusal| Box::new(refused(parts, refusal)))?;
    let Some(token) = token else {
        if wanted == Wanted::Optional {
            return Ok(Response::new(Body::empty()));
        }
        return Err(refuse(Problem::unauthorized(
            "unauthenticated",
            "send an access token as Authorization: Bearer",
        )));
    };
    let identity = auth
        .identify(token)
        .await
        .map_err(|refusal| Box::new(refused(parts, refusal)))?;
    guest_may(identity.caller.role, &forwarded_method(parts)).map_err(refuse)?;

    let mut response = Response::new(Body::empty());
    let [id, name, email, role] = identity.headers.clone();
    let said = response.headers_mut();
    said.reserve(6); // these and the date
    said.insert(headers::USER_ID, id);
    said.insert(headers::USER_NAME, name);
    said.insert(headers::USER_EMAIL, email);
    said.insert(headers::USER_ROLE, role);
    said.insert(headers::IDENTITY, auth.assertion(&identity));
    Ok(response)
}

/// A refusal, which names the path that the client asked for and not that of the gateway's question.
fn refused(parts: &Parts, refusal: impl IntoResponse) -> Response {
    let uri = parts.headers.get(FORWARDED_URI);
    if let Some(uri) = uri.and_then(|uri| Uri::try_from(uri.as_bytes()).ok()) {
        asks_about(uri.path());
    }
    refusal.into_response()
}

fn wanted(query: Option<&str>) -> Result<Wanted, Problem> {
    let modes = query
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.strip_prefix("mode="));
    let mut wanted = Wanted::Required;
    for mode in modes {
        wanted = match mode {
            "optional" => Wanted::Optional,
            "required" => Wanted::Required,
            _ => {
                let error = FieldErrors::one("mode", "must be required or optional");
                return Err(Problem::validation(error));
            }
        };
    }
    Ok(wanted)
}

/// The method of the request that is judged: not the gateway's own question, which is always a `GET`.
/// An unreadable one, or two of them, count as one that changes things.
fn forwarded_method(parts: &Parts) -> Method {
    let mut values = parts.headers.get_all(FORWARDED_METHOD).iter();
    match (values.next(), values.next()) {
        (None, _) => parts.method.clone(),
        (Some(one), None) => Method::from_bytes(one.as_bytes()).unwrap_or(Method::POST),
        (Some(_), Some(_)) => Method::POST,
    }
}

/// Refuses a path that means one thing to a gateway and may mean another to a service. A rule for `/public/..`
/// is none for the path that the service makes of it.
fn check_forwarded_path(parts: &Parts) -> Result<(), Problem> {
    let mut values = parts.headers.get_all(FORWARDED_URI).iter();
    let (Some(value), more) = (values.next(), values.next()) else {
        return Ok(());
    };
    let uri = Uri::try_from(value.as_bytes())
        .ok()
        .filter(|_| more.is_none());
    let uri = uri.ok_or_else(|| {
        Problem::bad_request(
            "bad_path",
            "X-Forwarded-Uri must be one path with its query",
        )
    })?;
    check_path(uri.path())
}

/// Lists the public keys that verify access tokens and `X-Identity`.
#[utoipa::path(
    get, path = "/.well-known/jwks.json", operation_id = "auth.jwks", tag = "auth",
    responses((status = 200, description = "a JSON Web Key Set (RFC 7517)", body = JwksView))
)]
pub(super) async fn jwks(State(auth): State<Auth>) -> impl IntoResponse {
    let keys = auth.keyring.published();
    (
        [(CACHE_CONTROL, "public, max-age=60")],
        Json(JwksView { keys }),
    )
}
