//! The layer that every request of the process passes.

use std::convert::Infallible;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use futures::future::{BoxFuture, Either};
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};
use tower::{Layer, Service};

use super::{Authenticator, Table};
use crate::identity::{AssertionVerifier, AuthRefusal, bearer, headers};
use crate::problem::Problem;
use crate::{Caller, FieldErrors, Mode, Role};

/// The rules, and the proof of identity that they want. A layer over complete routes: routes added later
/// are not behind it.
#[derive(Clone)]
pub struct Gateway {
    table: Arc<Table>,
    proof: Proof,
}

#[derive(Clone)]
enum Proof {
    /// An access token, as clients send it.
    Token(Arc<dyn Authenticator>),
    /// An assertion, as a gateway in front of this process sends it.
    Assertion(Arc<AssertionVerifier>),
}

impl Gateway {
    /// Applies `table`, asking `auth` whose a token is.
    pub fn new(table: Table, auth: Arc<dyn Authenticator>) -> Self {
        Self {
            table: Arc::new(table),
            proof: Proof::Token(auth),
        }
    }

    /// Applies `table` in a service that is reached over the network. A request has a [`Caller`] only with
    /// one valid `X-Identity` that every `X-User-*` beside it agrees with. All else is as if nobody had said
    /// anything. So reaching a service past the gateway in front of it gains nothing.
    pub fn behind_another(table: Table, verifier: Arc<AssertionVerifier>) -> Self {
        Self {
            table: Arc::new(table),
            proof: Proof::Assertion(verifier),
        }
    }

    /// Puts the gateway in front of `router`, whose routes are complete: routes added later are not behind
    /// it.
    pub fn wrap(self, router: Router) -> Router {
        router.layer(self)
    }

    /// Refuses a request of `caller` that the rule does not let pass.
    fn admit(
        &self,
        caller: Option<&Caller>,
        mode: Mode,
        method: &Method,
        query: Result<(), FieldErrors>,
    ) -> Result<(), Problem> {
        match caller {
            Some(caller) => guest_may(caller.role, method)?,
            None if mode == Mode::Required => return Err(self.proof.missing()),
            None => {}
        }
        Ok(query?)
    }
}

impl Proof {
    /// True if a request with `headers` is to be identified.
    fn is_in(&self, headers: &HeaderMap, mode: Mode) -> bool {
        match self {
            Self::Token(_) => mode != Mode::Strip && headers.contains_key(AUTHORIZATION),
            Self::Assertion(_) => headers.contains_key(headers::IDENTITY),
        }
    }

    async fn caller(&self, headers: &HeaderMap) -> Result<Option<Caller>, AuthRefusal> {
        match self {
            Self::Token(auth) => match bearer(headers)? {
                Some(token) => auth.authenticate(token).await.map(Some),
                None => Ok(None),
            },
            Self::Assertion(verifier) => match headers::asserted(headers, verifier).await {
                // Not knowing is not the same as not believing: an answer without identity would be a lie.
                Err(refusal @ AuthRefusal::Unavailable(_)) => Err(refusal),
                Err(refusal) => {
                    tracing::debug!(reason = %refusal, "an identity was not believed");
                    Ok(None)
                }
                believed => believed,
            },
        }
    }

    fn missing(&self) -> Problem {
        let detail = match self {
            Self::Token(_) => "send an access token: Authorization: Bearer …",
            Self::Assertion(_) => "send an access token as Authorization: Bearer, to the gateway",
        };
        Problem::unauthorized("unauthenticated", detail)
    }
}

/// Refuses a guest's requests that could change something.
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

impl<S> Layer<S> for Gateway {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            inner,
            gateway: self.clone(),
        }
    }
}

/// A route behind the gateway. Requests that prove no identity, or need none, pass without a copy of the
/// route and without an allocation.
#[derive(Clone)]
pub struct Guarded<S> {
    inner: S,
    gateway: Gateway,
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
        let rule = self.gateway.table.matched(path, request.method());
        // No route: the fallback answers. A method without a rule has no handler either; should there be
        // one, it finds no caller.
        let mode = rule.map_or(Mode::Strip, |rule| rule.mode);
        let query = rule.map_or(Ok(()), |rule| rule.check_query(request.uri().query()));
        if self.gateway.proof.is_in(request.headers(), mode) {
            // The one that said it is ready is the one that is called.
            let next = self.inner.clone();
            let inner = mem::replace(&mut self.inner, next);
            let asked = ask(self.gateway.clone(), inner, request, mode, query);
            return Either::Right(Box::pin(asked));
        }
        headers::strip(request.headers_mut());
        match self.gateway.admit(None, mode, request.method(), query) {
            Ok(()) => Either::Left(self.inner.call(request)),
            Err(problem) => Either::Right(Box::pin(async move { Ok(problem.into_response()) })),
        }
    }
}

async fn ask<S>(
    gateway: Gateway,
    mut inner: S,
    request: Request,
    mode: Mode,
    query: Result<(), FieldErrors>,
) -> Result<Response, Infallible>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let (mut parts, body) = request.into_parts();
    let caller = match gateway.proof.caller(&parts.headers).await {
        Ok(caller) => caller,
        Err(refusal) => return Ok(refusal.into_response()),
    };
    if let Err(problem) = gateway.admit(caller.as_ref(), mode, &parts.method, query) {
        return Ok(problem.into_response());
    }
    headers::strip(&mut parts.headers);
    if let Some(caller) = caller {
        crate::context::identify(caller.id);
        parts.extensions.insert(caller);
    }
    inner.call(Request::from_parts(parts, body)).await
}
