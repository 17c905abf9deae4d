//! The layer that every request of the process passes.

use std::convert::Infallible;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use futures::future::{BoxFuture, Either};
use http::Method;
use http::header::AUTHORIZATION;
use http::request::Parts;
use tower::{Layer, Service};

use super::table::Rule;
use super::{Authenticator, Table};
use crate::identity::{bearer, headers};
use crate::problem::{AsProblem, Logged, Problem};
use crate::{Caller, FieldErrors, Mode, Role};

/// The rules, and the authenticator to ask. A layer over complete routes: routes added later are not behind
/// it.
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

    /// Puts the gateway in front of `router`, whose routes are complete: routes added later are not behind
    /// it.
    pub fn wrap(self, router: Router) -> Router {
        router.layer(self)
    }

    /// The decision that needs no look at the token's owner.
    fn first_look(rule: Option<&Rule>, request: &Request) -> FirstLook {
        // No route: the fallback answers. A method without a rule has no handler either; should there be
        // one, it finds no caller.
        match rule.map_or(Mode::Strip, |rule| rule.mode) {
            Mode::Required | Mode::Optional if request.headers().contains_key(AUTHORIZATION) => {
                FirstLook::Ask
            }
            Mode::Required => FirstLook::Refuse,
            Mode::Optional | Mode::Strip => FirstLook::Pass,
        }
    }

    /// The caller, by a request's `Authorization`. The cause of a 5xx is logged here, as the problem does
    /// not tell it.
    async fn caller(&self, request: &Parts) -> Result<Caller, Problem> {
        let Some(token) = bearer(&request.headers).map_err(|refusal| refusal.problem())? else {
            return Err(no_token());
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
        Ok(caller)
    }
}

enum FirstLook {
    Pass,
    Ask,
    Refuse,
}

fn no_token() -> Problem {
    Problem::unauthorized(
        "unauthenticated",
        "send an access token: Authorization: Bearer …",
    )
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

/// A route behind the gateway. Requests that send no token, or need none, pass without a copy of the route
/// and without an allocation.
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
        headers::strip(request.headers_mut());
        let path = request.extensions().get::<MatchedPath>();
        let rule = self.gateway.table.matched(path, request.method());
        let query = rule.map_or(Ok(()), |rule| rule.check_query(request.uri().query()));
        match (Gateway::first_look(rule, &request), query) {
            (FirstLook::Pass, Ok(())) => Either::Left(self.inner.call(request)),
            (FirstLook::Pass, Err(unknown)) => {
                Either::Right(Box::pin(async { Ok(refusal(unknown.into())) }))
            }
            (FirstLook::Refuse, _) => Either::Right(Box::pin(async { Ok(refusal(no_token())) })),
            (FirstLook::Ask, query) => {
                // The one that said it is ready is the one that is called.
                let next = self.inner.clone();
                let inner = mem::replace(&mut self.inner, next);
                let asked = ask(self.gateway.clone(), inner, request, query);
                Either::Right(Box::pin(asked))
            }
        }
    }
}

async fn ask<S>(
    gateway: Gateway,
    mut inner: S,
    request: Request,
    query: Result<(), FieldErrors>,
) -> Result<Response, Infallible>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let (mut parts, body) = request.into_parts();
    let caller = gateway.caller(&parts).await;
    match caller.and_then(|caller| Ok(query.map(|()| caller)?)) {
        Ok(caller) => {
            crate::context::identify(caller.id);
            parts.extensions.insert(caller);
            inner.call(Request::from_parts(parts, body)).await
        }
        Err(problem) => Ok(refusal(problem)),
    }
}

fn refusal(problem: Problem) -> Response {
    let logged = problem.status().is_server_error().then_some(Logged);
    (logged.map(Extension), problem).into_response()
}
