//! The building blocks from outside, as a service uses them.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod extract;
mod kit;
mod pages;
mod serve;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use blocks::kit::{Kit, Limits};
use blocks::metrics::Metrics;
use http::{HeaderMap, StatusCode};
use tower::ServiceExt;

fn kit() -> Kit {
    Kit::new("rookery", Limits::default(), Metrics::new())
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
    length: usize,
}

impl Answer {
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap()
    }

    #[track_caller]
    fn is_problem(&self, status: u16, error_code: &str) {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem = self.json();
        assert_eq!(
            (&problem["status"], &problem["error_code"]),
            (&status.into(), &error_code.into())
        );
        for member in ["type", "title", "detail", "instance", "trace_id"] {
            assert_ne!(
                problem[member].as_str(),
                Some(""),
                "{member} of {}",
                self.text
            );
        }
    }

    #[track_caller]
    fn names(&self, field: &str) {
        self.is_problem(400, "validation_failed");
        let errors = &self.json()["errors"];
        assert!(
            errors[field][0].is_string() && errors.as_object().unwrap().len() == 1,
            "{field}: {}",
            self.text
        );
    }
}

async fn read(response: Response) -> Answer {
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    Answer {
        status: parts.status,
        headers: parts.headers,
        length: bytes.len(),
        text: String::from_utf8_lossy(&bytes).into_owned(),
    }
}

async fn ask(app: Router, request: Request) -> Answer {
    read(app.oneshot(request).await.unwrap()).await
}
