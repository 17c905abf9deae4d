//! The bodies of Traefik's own errors. Its errors middleware sees a status and nothing else. So it stands
//! where no service's answer passes with the same status, or where that says the same
//! (`traefik/dynamic/middlewares.yml`). Where auth is asked, 500 is Traefik's: a service's own 500 is marked
//! there on its way out.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use blocks::Problem;
use blocks::context::{self, RequestContext};
use http::{StatusCode, Uri};
use serde::Deserialize;

/// The status that stands for a service's own 500 on its way through Traefik.
const SERVICE_500: u16 = 598;

pub(super) fn router() -> Router {
    Router::new().route("/errors/{status}", get(page))
}

#[derive(Deserialize)]
struct Asked {
    /// The status before Traefik changed it.
    was: Option<u16>,
    /// The URL that the client asked for.
    url: Option<String>,
}

async fn page(Path(status): Path<u16>, Query(asked): Query<Asked>) -> Response {
    let Some(problem) = problem(status, asked.was.unwrap_or(status)) else {
        return Problem::not_found("not_found", "there is nothing under this path").into_response();
    };
    let Some(current) = context::current() else {
        return problem.into_response();
    };
    let url = asked.url.and_then(|url| url.parse::<Uri>().ok());
    let request = RequestContext {
        trace: current.trace.clone(),
        path: url.map_or_else(|| current.path.clone(), |url| url.path().to_owned()),
        ..RequestContext::default()
    };
    context::scope(Arc::new(request), async { problem.into_response() }).await
}

/// The problem that a client gets for `status`, which was `was` when Traefik caught it.
fn problem(status: u16, was: u16) -> Option<Problem> {
    let (code, detail) = match (status, was) {
        (413, _) => (
            "body_too_large",
            "the body is larger than what this endpoint takes",
        ),
        (429, _) => (
            "too_many_requests",
            "too many requests from this address; slow down",
        ),
        (500, SERVICE_500) => return Some(Problem::internal()),
        // Traefik answers 500 when it can't ask auth; nothing is wrong with the request.
        (503, 500) => return Some(Problem::unavailable("auth_unavailable").retry_after(1)),
        (502, _) => (
            "bad_gateway",
            "the service does not answer; try again shortly",
        ),
        (504, _) => (
            "timeout",
            "the answer took too long; whether a change was made must be looked up",
        ),
        _ => return None,
    };
    let problem = Problem::new(StatusCode::from_u16(status).ok()?, code, detail);
    Some(match status {
        429 | 502 => problem.retry_after(1),
        _ => problem,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_of_traefik_has_a_body_and_nothing_else_has() {
        for (status, was, code) in [
            (429, 429, "too_many_requests"),
            (413, 413, "body_too_large"),
            (500, SERVICE_500, "internal_error"),
            (503, 500, "auth_unavailable"),
            (502, 502, "bad_gateway"),
            (504, 504, "timeout"),
        ] {
            let problem = problem(status, was).unwrap();
            assert_eq!(
                (problem.status().as_u16(), problem.error_code()),
                (status, code)
            );
        }
        assert!(problem(200, 200).is_none());
        assert!(problem(500, 500).is_none());
    }
}
