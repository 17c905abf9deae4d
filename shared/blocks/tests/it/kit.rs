//! The kit around a router, by one-shot requests.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use blocks::extract::ValidJson;
use blocks::kit::{Kit, Limits, Normalize};
use blocks::metrics::Metrics;
use blocks::service::{Mode, Route};
use http::{Method, Request};
use tower::ServiceExt;

use crate::{Answer, ask, kit, read};

const ROUTES: &[Route] = &[Route {
    methods: &["GET"],
    path: "/api/posts/{id}",
    mode: Mode::Optional,
}];

pub fn small() -> Limits {
    Limits {
        body: 16,
        time: Duration::from_millis(50),
        ..Limits::default()
    }
}

async fn panics() -> &'static str {
    panic!("a handler's mistake")
}

pub fn routes() -> Router {
    Router::new()
        .route(
            "/api/posts/{id}",
            get(async || {
                let own = blocks::context::for_events().traceparent;
                own.unwrap().as_str().to_owned()
            }),
        )
        .route("/echo", post(async |body: Bytes| body.len().to_string()))
        .route(
            "/json",
            post(
                async |ValidJson(json): ValidJson<serde_json::Map<String, serde_json::Value>>| {
                    json.len().to_string()
                },
            ),
        )
        .route("/panic", get(panics))
        .route("/never", get(std::future::pending::<String>))
}

async fn fetch(uri: &str) -> Answer {
    ask(
        Kit::new("rookery", small(), Metrics::new()).wrap(routes()),
        Request::get(uri).body(Body::empty()).unwrap(),
    )
    .await
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    fetch("/nothing").await.is_problem(404, "not_found");
    let request = Request::delete("/echo").body(Body::empty()).unwrap();
    let answer = ask(kit().wrap(routes()), request).await;
    answer.is_problem(405, "method_not_allowed");
    assert_eq!(answer.headers["allow"], "POST");
}

#[tokio::test]
async fn ids_are_echoed_and_made_and_the_handler_is_part_of_the_trace() {
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let request = Request::get("/api/posts/1")
        .header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"))
        .header("x-request-id", "r-1")
        .header("x-correlation-id", "c-1")
        .body(Body::empty())
        .unwrap();
    let answer = ask(kit().wrap(routes()), request).await;
    assert!(answer.text.contains(trace), "{}", answer.text);
    assert_eq!(
        (
            &answer.headers["x-request-id"],
            &answer.headers["x-correlation-id"]
        ),
        (&"r-1".parse().unwrap(), &"c-1".parse().unwrap())
    );
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    let (one, two) = (fetch("/nothing").await, fetch("/nothing").await);
    assert_ne!(one.headers["x-request-id"], two.headers["x-request-id"]);
    assert_eq!(
        one.json()["trace_id"],
        one.headers["x-request-id"].to_str().unwrap()
    );
}

#[tokio::test]
async fn a_panic_and_a_handler_that_never_answers_are_problems() {
    let answer = fetch("/panic").await;
    answer.is_problem(500, "internal_error");
    assert!(!answer.text.contains("mistake"));
    fetch("/never").await.is_problem(504, "timeout");
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_with_and_without_its_length() {
    let app = || Kit::new("rookery", small(), Metrics::new()).wrap(routes());
    let known = |path: &str, bytes: usize| {
        let body = format!("{{\"{}\":1}}", "x".repeat(bytes - 6));
        Request::post(path)
            .header("content-type", "application/json")
            .body(Body::from(body))
            .unwrap()
    };
    let streamed = |path: &str, bytes: usize| {
        known(path, bytes).map(|body| {
            let chunks =
                futures::stream::once(async { axum::body::to_bytes(body, usize::MAX).await });
            Body::from_stream(chunks)
        })
    };
    for path in ["/json", "/echo"] {
        assert_eq!(ask(app(), known(path, 16)).await.status, 200);
        assert_eq!(ask(app(), streamed(path, 16)).await.status, 200);
        ask(app(), known(path, 17))
            .await
            .is_problem(413, "body_too_large");
    }
    ask(app(), streamed("/json", 17))
        .await
        .is_problem(413, "body_too_large");
    assert_eq!(ask(app(), streamed("/echo", 17)).await.status, 413);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_a_problem() {
    let broken = futures::stream::iter([
        Ok(Bytes::from_static(b"{")),
        Err(std::io::Error::other("gone")),
    ]);
    let request = Request::post("/json")
        .header("content-type", "application/json")
        .body(Body::from_stream(broken));
    ask(kit().wrap(routes()), request.unwrap())
        .await
        .is_problem(400, "body_incomplete");
}

#[tokio::test]
async fn every_answer_is_counted_under_its_service_and_route() {
    let metrics = Metrics::new();
    let app = Kit::new("rookery", small(), metrics.clone())
        .naming("posts", ROUTES)
        .wrap(routes());
    for path in ["/api/posts/1", "/api/posts/2", "/nothing", "/panic"] {
        ask(app.clone(), Request::get(path).body(Body::empty()).unwrap()).await;
    }
    let brewed = Method::from_bytes(b"BREW").unwrap();
    ask(
        app,
        Request::builder()
            .method(brewed)
            .uri("/coffee")
            .body(Body::empty())
            .unwrap(),
    )
    .await;
    let page = metrics.encode();
    for line in [
        r#"http_requests_total{service="posts",method="GET",route="/api/posts/{id}",status="200"} 2"#,
        r#"http_requests_total{service="rookery",method="GET",route="unmatched",status="404"} 1"#,
        r#"http_requests_total{service="rookery",method="GET",route="/panic",status="500"} 1"#,
        r#"http_requests_total{service="rookery",method="OTHER",route="unmatched",status="404"} 1"#,
        r#"http_request_duration_seconds_count{service="posts",method="GET",route="/api/posts/{id}",status="200"} 2"#,
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
}

#[tokio::test]
async fn one_trailing_slash_is_the_same_path_and_tricks_are_refused() {
    let app = Normalize(kit().wrap(routes()));
    let fetch = async |uri: &str| {
        let request = Request::get(uri).body(Body::empty()).unwrap();
        read(app.clone().oneshot(request).await.unwrap()).await
    };
    for uri in ["/api/posts/1", "/api/posts/1/", "/api/posts/1/?x=1/"] {
        assert_eq!(fetch(uri).await.status, 200, "{uri}");
    }
    for uri in [
        "/api//posts/1",
        "/api/posts/1//",
        "/api/./posts/1",
        "/api/x/../posts/1",
        "/api/%2e%2e/x",
        "/api/a%2Fb",
        "/api/a%5cb",
        "/api/a%00",
        "/api/%ff",
        "/api/%zz",
    ] {
        let answer = fetch(uri).await;
        answer.is_problem(400, "bad_path");
        assert_eq!(answer.json()["instance"], uri);
    }
}
