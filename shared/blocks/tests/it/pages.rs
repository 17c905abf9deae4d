//! Health, metrics and documentation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use blocks::error::BoxError;
use blocks::health::{DATABASE, EVENTS, Health};
use blocks::kit::{Kit, Limits, Peer};
use blocks::metrics::Metrics;
use blocks::service::{Check, Mode, Route};
use blocks::{Caller, Problem, docs};
use http::Request;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::{Answer, ask, kit};

async fn fetch(app: &Router, uri: &str) -> Answer {
    ask(app.clone(), Request::get(uri).body(Body::empty()).unwrap()).await
}

struct Part(&'static str, Arc<AtomicBool>);

#[async_trait::async_trait]
impl Check for Part {
    fn name(&self) -> &'static str {
        self.0
    }
    async fn check(&self) -> Result<(), BoxError> {
        if self.1.load(Ordering::SeqCst) {
            return Ok(());
        }
        Err("the password of the database is wrong".into())
    }
}

#[tokio::test]
async fn health_says_how_each_service_is() {
    let (database, events) = (
        Arc::new(AtomicBool::new(true)),
        Arc::new(AtomicBool::new(true)),
    );
    let part = |name, up: &Arc<AtomicBool>| Arc::new(Part(name, up.clone())) as Arc<dyn Check>;
    let health = Health::new("rookery", "0.1.0", Some(Metrics::new()))
        .checking(
            "posts",
            vec![part(DATABASE, &database), part(EVENTS, &events)],
        )
        .checking(
            "auth",
            vec![part(DATABASE, &Arc::new(AtomicBool::new(true)))],
        );
    let app = kit().wrap(health.router());
    for uri in ["/health", "/ready", "/health/db", "/health/events"] {
        let answer = fetch(&app, uri).await;
        assert_eq!(answer.status, 200, "{uri}");
        assert_eq!(answer.json()["services"]["posts"], "ok", "{uri}");
    }
    database.store(false, Ordering::SeqCst);
    let alive = fetch(&app, "/health").await;
    assert_eq!(
        (alive.status.as_u16(), &alive.json()["status"]),
        (200, &"degraded".into())
    );
    assert_eq!(
        alive.json()["services"]["posts"],
        "database does not answer"
    );
    assert_eq!(alive.json()["services"]["auth"], "ok");
    for uri in ["/ready", "/health/db"] {
        let answer = fetch(&app, uri).await;
        answer.is_problem(503, "not_ready");
        assert_eq!(
            answer.json()["detail"],
            "the database of posts does not answer"
        );
        assert!(!answer.text.contains("password"));
    }
    assert_eq!(fetch(&app, "/health/events").await.status, 200);
}

#[tokio::test]
async fn the_index_and_the_metrics_are_there_and_no_metrics_where_they_are_off() {
    let metrics = Metrics::new();
    let kit_on = Kit::new("rookery", Limits::default(), metrics.clone());
    let on = kit_on.wrap(Health::new("rookery", "0.1.0", Some(metrics)).router());
    let index = fetch(&on, "/").await.json();
    assert_eq!(
        (&index["name"], &index["links"]["metrics"]),
        (&"rookery".into(), &"/metrics".into())
    );
    let page = scrape(&on, "127.0.0.1", None).await;
    assert!(
        page.text.contains("# TYPE http_requests counter") && page.text.ends_with("# EOF\n"),
        "{}",
        page.text
    );
    assert!(
        page.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
    let off = kit().wrap(Health::new("rookery", "0.1.0", None).router());
    fetch(&off, "/metrics").await.is_problem(404, "not_found");
    assert!(
        fetch(&off, "/").await.json()["links"]
            .get("metrics")
            .is_none()
    );
}

async fn scrape(app: &Router, from: &str, header: Option<&str>) -> Answer {
    let mut request = Request::get("/metrics").extension(Peer(from.parse().unwrap()));
    if let Some(name) = header {
        request = request.header(name, "192.0.2.1");
    }
    ask(app.clone(), request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn the_metrics_answer_this_machine_alone_unless_they_are_opened() {
    let health = || Health::new("rookery", "0.1.0", Some(Metrics::new()));
    let closed = kit().wrap(health().router());
    let open = kit().wrap(health().metrics_for_all(true).router());
    fetch(&closed, "/metrics")
        .await
        .is_problem(404, "not_found");
    for (from, header, status) in [
        ("127.0.0.1", None, 200),
        ("127.8.8.8", None, 200),
        ("::1", None, 200),
        ("192.0.2.1", None, 404),
        ("10.0.0.1", None, 404),
        ("2001:db8::1", None, 404),
        ("127.0.0.1", Some("x-forwarded-for"), 404),
        ("127.0.0.1", Some("forwarded"), 404),
        ("127.0.0.1", Some("via"), 404),
        ("::1", Some("x-real-ip"), 404),
    ] {
        let answer = scrape(&closed, from, header).await;
        assert_eq!(answer.status, status, "{from} {header:?}");
        assert_eq!(scrape(&open, from, header).await.status, 200);
    }
}

/// Tells who is calling.
#[utoipa::path(get, path = "/api/me", operation_id = "test.me", responses((status = 200, body = String)))]
async fn me(caller: Caller) -> String {
    caller.id.to_string()
}

/// Refuses.
#[utoipa::path(post, path = "/api/me", operation_id = "test.refuse", responses(
    (status = 403, body = Problem, content_type = "application/problem+json"),
))]
async fn refuse() -> Problem {
    Problem::forbidden("forbidden", "never")
}

#[tokio::test]
async fn the_documentation_is_served_from_here_and_says_what_needs_a_token() {
    let rule = |methods, mode| Route {
        methods,
        path: "/api/me",
        mode,
    };
    let table = [rule(&["GET"], Mode::Required), rule(&["POST"], Mode::Strip)];
    let (endpoints, openapi) = OpenApiRouter::new()
        .routes(routes!(me, refuse))
        .split_for_parts();
    let openapi = docs::merge("Rookery", "0.1.0", [(openapi, &table[..])]);
    let app = kit().wrap(endpoints.merge(docs::router(&openapi)));
    let json = fetch(&app, "/openapi.json").await.json();
    assert_eq!(json["info"]["title"], "Rookery");
    let operation = &json["paths"]["/api/me"]["get"];
    assert_eq!(operation["summary"], "Tells who is calling.");
    assert_eq!(operation["security"], serde_json::json!([{"bearer": []}]));
    assert!(operation["responses"]["401"]["content"]["application/problem+json"].is_object());
    assert_eq!(
        json["paths"]["/api/me"]["post"]["security"],
        serde_json::json!([])
    );
    assert_eq!(
        json["components"]["securitySchemes"]["bearer"]["scheme"],
        "bearer"
    );
    assert_eq!(
        json["components"]["schemas"]["Problem"]["properties"]["status"]["type"],
        "integer"
    );

    for uri in ["/docs", "/redoc"] {
        let page = fetch(&app, uri).await;
        assert_eq!(
            (page.status.as_u16(), page.text.contains("://")),
            (200, false),
            "{uri}"
        );
        for link in page.text.split(['"']).filter(|part| part.starts_with('/')) {
            let linked = fetch(&app, link).await;
            assert_eq!(linked.status, 200, "{link} of {uri}");
            assert!(linked.length > 100, "{link}");
        }
    }
    // The page has its script in a file, and the file says what to show.
    let script = fetch(&app, "/redoc/redoc.js").await;
    assert!(script.text.contains(r#"Redoc.init("/openapi.json""#));
    fetch(&app, "/docs/index.html")
        .await
        .is_problem(404, "not_found");
    fetch(&app, "/redoc/x").await.is_problem(404, "not_found");
}
