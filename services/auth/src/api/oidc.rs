//! The endpoints for signing in by a provider.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use blocks::extract::{ValidJson, ValidPath, ValidQuery};
use blocks::{AsProblem, Mediator};
use http::header::{CACHE_CONTROL, LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode};
use openidconnect::url::Url;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::sessions::{TokenView, logged_in};
use crate::Auth;
use crate::client::Client;
use crate::commands::{ExchangeCode, SignIn, SignedIn};
use crate::error::AuthError;
use crate::oidc::{Attempt, OidcError, PATH, Prompt};

/// The providers that people can sign in with.
#[derive(Serialize, ToSchema)]
pub(super) struct ProvidersView {
    providers: Vec<ProviderView>,
}

#[derive(Serialize, ToSchema)]
struct ProviderView {
    #[schema(example = "google")]
    name: String,
    /// Where a browser begins.
    #[schema(example = "/api/auth/oidc/google/start")]
    start: String,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StartQuery {
    /// Where the browser goes on with a code: a URL of an allowed origin, or a path here. Without it the answer is
    /// that of a login.
    return_to: Option<String>,
    /// What the provider shall ask, whatever it knows.
    #[param(inline)]
    prompt: Option<Prompt>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Answered {
    /// The attempt's.
    state: Option<String>,
    /// For the provider's tokens.
    code: Option<String>,
    /// Why there is no code.
    error: Option<String>,
    /// Who answers (RFC 9207).
    iss: Option<String>,
}

/// A code that a page got.
#[derive(Deserialize, ToSchema)]
pub(super) struct ExchangeRequest {
    /// From the query of the page's address.
    code: String,
}

/// Lists the providers that people can sign in with.
#[utoipa::path(
    get, path = "/api/auth/oidc/providers", operation_id = "auth.oidc_providers", tag = "auth",
    responses(
        (status = 200, description = "the providers", body = ProvidersView),
    )
)]
pub(super) async fn providers(State(auth): State<Auth>) -> Json<ProvidersView> {
    let providers = auth.oidc.names().map(|name| ProviderView {
        name: name.to_owned(),
        start: format!("{PATH}/{name}/start"),
    });
    Json(ProvidersView {
        providers: providers.collect(),
    })
}

/// Sends a browser to a provider.
#[utoipa::path(
    get, path = "/api/auth/oidc/{provider}/start", operation_id = "auth.oidc_start", tag = "auth",
    params(("provider" = String, Path, description = "its name"), StartQuery),
    responses(
        (status = 303, description = "to the provider, with a cookie that the way back needs"),
        (status = 404, description = "`provider_not_found`"),
        (status = 502, description = "`upstream_failed`: the provider answers what it should not"),
        (status = 503, description = "`upstream_unavailable`: the provider does not answer"),
        (status = 504, description = "`upstream_timeout`: the provider takes too long"),
    )
)]
pub(super) async fn start(
    State(auth): State<Auth>,
    ValidPath(provider): ValidPath<String>,
    ValidQuery(query): ValidQuery<StartQuery>,
    headers: HeaderMap,
) -> Result<Response, AuthError> {
    let provider = auth.oidc.provider(&provider)?;
    let return_to = query
        .return_to
        .map(|url| auth.oidc.return_to(&url))
        .transpose()?;
    let (url, attempt) = provider
        .begin(query.prompt, return_to, auth.clock.now())
        .await?;
    let cookies = auth.oidc.bind(&attempt, &headers)?;
    Ok(redirect(&url, cookies))
}

/// Takes a provider's answer from a browser: signs in, and opens an account for somebody new.
#[utoipa::path(
    get, path = "/api/auth/oidc/{provider}/callback", operation_id = "auth.oidc_callback", tag = "auth",
    params(
        ("provider" = String, Path, description = "its name"),
        Answered,
        ("others" = Option<HashMap<String, String>>, Query, style = Form, explode,
            description = "what providers add of their own"),
    ),
    responses(
        (status = 200, description = "signed in", body = TokenView),
        (status = 303, description = "to `return_to`, with `code` for the exchange, or with `error`, one of the codes below"),
        (status = 400, description = "`oidc_state_invalid`, `oidc_nonce_invalid`, `oidc_code_refused`: begin again"),
        (status = 403, description = "`oidc_access_denied`, `oidc_interaction_required`, `oidc_refused`: the provider says no; `email_unverified`; \
            `oidc_email_missing`, `oidc_email_invalid`; `account_inactive`"),
        (status = 404, description = "`provider_not_found`"),
        (status = 409, description = "`email_taken`: an account has the address, and is not linked; log in by password"),
        (status = 502, description = "`oidc_token_refused`, `upstream_failed`: the provider answers what it should not"),
        (status = 503, description = "`upstream_unavailable`: the provider does not answer"),
        (status = 504, description = "`upstream_timeout`: the provider takes too long"),
    )
)]
pub(super) async fn callback(
    State(auth): State<Auth>,
    ValidPath(provider): ValidPath<String>,
    ValidQuery(answered): ValidQuery<Answered>,
    headers: HeaderMap,
    client: Client,
) -> Result<Response, AuthError> {
    auth.oidc.provider(&provider)?;
    let state = answered.state.as_deref().unwrap_or_default();
    let (attempt, forget) = auth
        .oidc
        .opened(&provider, state, &headers, auth.clock.now())?;
    let return_to = attempt.return_to.as_deref().map(str::parse::<Url>);
    let return_to = return_to.transpose().map_err(|_| OidcError::NoAttempt)?;
    let outcome = sign_in(&auth, attempt, answered, client).await;
    let answer = match (outcome, return_to) {
        (Ok(SignedIn::Session(done)), _) => logged_in(done).into_response(),
        (Ok(SignedIn::Code(code)), Some(url)) => returned(url, "code", &code),
        // A fault is logged, whoever is told of it.
        (Err(error), Some(url)) => {
            let code = error.problem().error_code();
            drop(error.into_response());
            returned(url, "error", code)
        }
        (Err(error), None) => error.into_response(),
        (Ok(SignedIn::Code(_)), None) => AuthError::from(OidcError::NoAttempt).into_response(),
    };
    Ok(([(SET_COOKIE, forget)], answer).into_response())
}

async fn sign_in(
    auth: &Auth,
    attempt: Attempt,
    answered: Answered,
    client: Client,
) -> Result<SignedIn, AuthError> {
    let provider = auth.oidc.provider(&attempt.provider)?;
    if answered.iss.is_some_and(|issuer| !provider.is(&issuer)) {
        return Err(OidcError::NoAttempt.into());
    }
    if let Some(error) = answered.error {
        return Err(OidcError::of(&error).into());
    }
    let command = SignIn {
        attempt,
        code: answered.code.ok_or(OidcError::CodeRefused)?,
        client,
    };
    auth.send(command).await
}

/// Exchanges a code from the address of the page that a sign-in returned to: once, within a minute.
#[utoipa::path(
    post, path = "/api/auth/oidc/exchange", operation_id = "auth.oidc_exchange", tag = "auth",
    request_body = ExchangeRequest,
    responses(
        (status = 200, description = "logged in", body = TokenView),
        (status = 404, description = "`oidc_code_not_found`: unknown, used, or too old"),
        (status = 403, description = "`account_inactive`, `email_unverified`"),
    )
)]
pub(super) async fn exchange(
    State(auth): State<Auth>,
    client: Client,
    ValidJson(request): ValidJson<ExchangeRequest>,
) -> Result<impl IntoResponse, AuthError> {
    let command = ExchangeCode {
        code: request.code,
        client,
    };
    Ok(logged_in(auth.send(command).await?))
}

/// To the page that waits, with one more field in its query.
fn returned(mut url: Url, name: &str, value: &str) -> Response {
    url.query_pairs_mut().append_pair(name, value);
    redirect(&url, Vec::new())
}

fn redirect(to: &Url, cookies: Vec<HeaderValue>) -> Response {
    let to = HeaderValue::from_str(to.as_str()).expect("a URL is ASCII");
    let mut answer = (
        StatusCode::SEE_OTHER,
        [
            (LOCATION, to),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ],
    )
        .into_response();
    for cookie in cookies {
        answer.headers_mut().append(SET_COOKIE, cookie);
    }
    answer
}
