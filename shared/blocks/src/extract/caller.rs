//! The caller in a handler's arguments.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;

use crate::caller::{Caller, Role};
use crate::context;
use crate::problem::Problem;

fn find(parts: &Parts) -> Option<Caller> {
    let caller = parts.extensions.get::<Caller>().cloned()?;
    context::identify(caller.id);
    Some(caller)
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        find(parts).ok_or_else(|| {
            Problem::unauthorized(
                "unauthenticated",
                "send an access token as Authorization: Bearer",
            )
        })
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Caller {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(find(parts))
    }
}

/// A caller who is an admin: anybody else gets 403 `forbidden`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin(pub Caller);

impl<S: Send + Sync> FromRequestParts<S> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = <Caller as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        if caller.role == Role::Admin {
            Ok(Self(caller))
        } else {
            Err(Problem::forbidden("forbidden", "only an admin may do this"))
        }
    }
}
