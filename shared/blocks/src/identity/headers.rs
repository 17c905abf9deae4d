//! Identity headers: their names, how they are kept out, and the layer of a service reached over the
//! network that turns the right ones into a [`Caller`].

use std::convert::Infallible;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use futures::future::{BoxFuture, Either};
use http::header::{AUTHORIZATION, CONNECTION, HeaderMap, HeaderName};
use tower::{Layer, Service};

use super::assertion::AssertionVerifier;
use super::refusal::AuthRefusal;
use crate::gateway::{Table, guest_may};
use crate::problem::Problem;
use crate::{Caller, Mode};

/// The account's id.
pub const USER_ID: HeaderName = HeaderName::from_static("x-user-id");
/// The account's name.
pub const USER_NAME: HeaderName = HeaderName::from_static("x-user-name");
/// The account's e-mail address.
pub const USER_EMAIL: HeaderName = HeaderName::from_static("x-user-email");
/// The account's role.
pub const USER_ROLE: HeaderName = HeaderName::from_static("x-user-role");
/// The assertion: the only one of them that proves anything.
pub const IDENTITY: HeaderName = HeaderName::from_static("x-identity");

/// True if anybody on the way may read `name` as an identity header. Proxies and frameworks differ in their
/// treatment of `_`, `.` and case, so only letters and digits are compared.
pub fn is_identity(name: &str) -> bool {
    // Nearly every header is done here.
    if !name.starts_with(['x', 'X']) {
        return false;
    }
    [
        "xuserid",
        "xusername",
        "xuseremail",
        "xuserrole",
        "xidentity",
    ]
    .iter()
    .any(|known| {
        let letters = name.bytes().filter(u8::is_ascii_alphanumeric);
        letters
            .map(|byte| byte.to_ascii_lowercase())
            .eq(known.bytes())
    })
}

/// Removes identity headers in any spelling, and a `Connection` header that names one: it would make the
/// next proxy drop the true one.
pub fn strip(headers: &mut HeaderMap) {
    if headers.keys().any(|name| is_identity(name.as_str())) {
        let forged: Vec<HeaderName> = headers
            .keys()
            .filter(|name| is_identity(name.as_str()))
            .cloned()
            .collect();
        for name in forged {
            headers.remove(name);
        }
    }
    let named = headers.get_all(CONNECTION).iter().any(|value| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|option| std::str::from_utf8(option.trim_ascii()).is_ok_and(is_identity))
    });
    if named {
        headers.remove(CONNECTION);
    }
}

/// The bearer token of a request; `None` when it has no `Authorization` at all.
///
/// # Errors
/// When there is one that is not a single bearer token.
pub fn bearer(headers: &HeaderMap) -> Result<Option<&str>, AuthRefusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(AuthRefusal::Malformed);
    }
    let value = value.to_str().map_err(|_| AuthRefusal::Malformed)?;
    let (scheme, token) = value.split_once(' ').ok_or(AuthRefusal::Malformed)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(AuthRefusal::Malformed);
    }
    Ok(Some(token))
}

/// Guards `router`, which is reached over the network; see [`Guard`].
pub fn guard(router: Router, verifier: Arc<AssertionVerifier>) -> Router {
    router.layer(Guard::new(Table::default(), verifier))
}

/// A layer for services that are reached over the network: a request has a [`Caller`] only with one
/// valid `X-Identity` that every `X-User-*` beside it agrees with. All else is as if nobody had said
/// anything. A guest may only read, and where the table wants a caller nobody passes without one, as
/// behind the gateway: reaching a service past it gains nothing.
#[derive(Clone)]
pub struct Guard {
    table: Arc<Table>,
    verifier: Arc<AssertionVerifier>,
}

impl Guard {
    /// A guard that trusts `verifier`, by the rules of `table`.
    pub fn new(table: Table, verifier: Arc<AssertionVerifier>) -> Self {
        Self {
            table: Arc::new(table),
            verifier,
        }
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            inner,
            guard: self.clone(),
        }
    }
}

/// A route behind a [`Guard`]. A request without an assertion, where none is wanted, passes without a
/// copy of the route and without an allocation.
#[derive(Clone)]
pub struct Guarded<S> {
    inner: S,
    guard: Guard,
}

impl<S> Service<Request> for Guarded<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<S::Future, BoxFuture<'static, Result<Response, Infallible>>>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let path = request.extensions().get::<MatchedPath>();
        let rule = self.guard.table.matched(path, request.method());
        let wants_caller = rule.is_some_and(|rule| rule.mode == Mode::Required);
        let query = rule.map_or(Ok(()), |rule| rule.check_query(request.uri().query()));
        if !request.headers().contains_key(IDENTITY) {
            // Whoever reads a header instead of the `Caller` finds nothing.
            strip(request.headers_mut());
            if wants_caller {
                return Either::Right(Box::pin(async { Ok(nobody()) }));
            }
            if let Err(unknown) = query {
                return Either::Right(Box::pin(async {
                    Ok(Problem::from(unknown).into_response())
                }));
            }
            return Either::Left(self.inner.call(request));
        }
        // The one that said it is ready is the one that is called.
        let next = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, next);
        let verifier = Arc::clone(&self.guard.verifier);
        Either::Right(Box::pin(async move {
            match believe(&verifier, &mut request).await {
                Err(refused) => Ok(*refused),
                Ok(false) if wants_caller => Ok(nobody()),
                Ok(_) => match query {
                    Ok(()) => inner.call(request).await,
                    Err(unknown) => Ok(Problem::from(unknown).into_response()),
                },
            }
        }))
    }
}

fn nobody() -> Response {
    Problem::unauthorized(
        "unauthenticated",
        "send an access token as Authorization: Bearer, to the gateway",
    )
    .into_response()
}

/// Puts the caller into `request`, if there is one to be believed, and takes the headers out.
async fn believe(
    verifier: &AssertionVerifier,
    request: &mut Request,
) -> Result<bool, Box<Response>> {
    let believed = match caller(request.headers(), verifier).await {
        Ok(Some(caller)) => {
            // The gateway asked already; whoever comes past it meets the same rule.
            if let Err(problem) = guest_may(caller.role, request.method()) {
                return Err(Box::new(problem.into_response()));
            }
            crate::context::identify(caller.id);
            request.extensions_mut().insert(caller);
            true
        }
        Ok(None) => false,
        // Not knowing is not the same as not believing: an answer without identity would be a lie.
        Err(refusal @ AuthRefusal::Unavailable(_)) => {
            return Err(Box::new(refusal.into_response()));
        }
        Err(refusal) => {
            tracing::debug!(reason = %refusal, "an identity was not believed");
            false
        }
    };
    strip(request.headers_mut());
    Ok(believed)
}

async fn caller(
    headers: &HeaderMap,
    verifier: &AssertionVerifier,
) -> Result<Option<Caller>, AuthRefusal> {
    let Some(assertion) = headers.get(IDENTITY) else {
        return Ok(None);
    };
    if headers.get_all(IDENTITY).iter().count() > 1 {
        return Err(AuthRefusal::Malformed);
    }
    let assertion = assertion.to_str().map_err(|_| AuthRefusal::Malformed)?;
    let caller = verifier.verify(assertion).await?;
    let says = |name: HeaderName, truth: &str| {
        let mut values = headers.get_all(name).iter();
        values.next().is_none_or(|value| value == truth) && values.next().is_none()
    };
    let agreed = says(USER_ID, &caller.id.to_string())
        && says(USER_NAME, &caller.name)
        && says(USER_ROLE, caller.role.as_str());
    if agreed {
        Ok(Some(caller))
    } else {
        Err(AuthRefusal::Malformed)
    }
}
