//! The answers of `rookery front` for a fleet as a whole.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use gateway::roster::ROSTER;
use service::Definition;

use crate::world::Folder;

/// All services at `address`; the one called `away` where nobody listens.
fn at(address: &str, away: Option<&str>) -> String {
    let one = |service: &&Definition| {
        let service = service.name;
        let address = if Some(service) == away {
            "127.0.0.1:1"
        } else {
            address
        };
        format!("{service}=http://{address}")
    };
    let all: Vec<String> = ROSTER.iter().map(one).collect();
    all.join(",")
}

#[tokio::test]
async fn the_front_says_how_all_services_are_and_documents_them_in_one() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    let front = folder.front(&at(rookery.client.address(), None)).await;
    let health = front.get("/health", None).await.expect(200);
    assert_eq!(health["status"], "ok", "{health}");
    for service in ROSTER.iter().map(|of| of.name) {
        assert_eq!(health["services"][service], "ok", "{health}");
    }
    for path in [
        "/ready",
        "/health/db",
        "/health/events",
        "/",
        "/docs",
        "/redoc",
    ] {
        let answer = front.get(path, None).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    let merged = front.get("/openapi.json", None).await.expect(200);
    let whole = rookery.get("/openapi.json", None).await.expect(200);
    let paths = whole["paths"].as_object().unwrap();
    assert!(paths.len() > 10 && paths.keys().all(|path| merged["paths"][path].is_object()));
    assert_eq!(merged["components"], whole["components"]);
    front.stop().await;
}

#[tokio::test]
async fn the_front_names_the_service_that_is_away_and_documents_the_others() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    let address = rookery.client.address();
    let front = folder.front(&at(address, Some("posts"))).await;
    let health = front.get("/health", None).await.expect(200);
    assert_eq!(health["status"], "degraded", "{health}");
    assert_eq!(health["services"]["auth"], "ok", "{health}");
    let posts = health["services"]["posts"].as_str().unwrap();
    assert!(posts.contains("service does not answer"), "{health}");
    let answer = front.get("/ready", None).await;
    answer.expect_problem(503, "not_ready");
    assert_eq!(answer.headers["retry-after"], "1");
    let documents = front.get("/openapi.json", None).await.expect(200);
    assert!(documents["paths"]["/api/auth/login"].is_object());
}

/// A service says that it is ready, and that its broker is away: it takes writes and publishes them later.
#[tokio::test]
async fn a_fleet_without_its_broker_is_degraded_and_ready() {
    let services = Router::new()
        .route("/health/events", get(StatusCode::SERVICE_UNAVAILABLE))
        .fallback(get("ok"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut serving = JoinSet::new();
    serving.spawn(axum::serve(listener, services).into_future());
    let folder = Folder::new();
    let front = folder.front(&at(&address, None)).await;
    front.get("/ready", None).await.expect(200);
    let health = front.get("/health", None).await.expect(200);
    assert_eq!(health["status"], "degraded", "{health}");
    let posts = health["services"]["posts"].as_str().unwrap();
    assert!(posts.contains("events"), "{health}");
    front.stop().await;
}

#[tokio::test]
async fn the_front_gives_errors_of_traefik_a_body_with_the_path_that_was_asked_for() {
    let folder = Folder::new();
    let front = folder.front(&at("127.0.0.1:1", None)).await;
    for (path, status, code) in [
        (
            "/errors/502?was=502&url=http%3A%2F%2Fsite%2Fapi%2Fposts%3Fa%3Db",
            502,
            "bad_gateway",
        ),
        (
            "/errors/503?was=500&url=http%3A%2F%2Fsite%2Fapi%2Fposts",
            503,
            "auth_unavailable",
        ),
        (
            "/errors/500?was=598&url=http%3A%2F%2Fsite%2Fapi%2Fposts",
            500,
            "internal_error",
        ),
        (
            "/errors/429?was=429&url=http%3A%2F%2Fsite%2Fapi%2Fposts",
            429,
            "too_many_requests",
        ),
        (
            "/errors/413?url=http%3A%2F%2Fsite%2Fapi%2Fposts",
            413,
            "body_too_large",
        ),
        (
            "/errors/504?was=504&url=http%3A%2F%2Fsite%2Fapi%2Fposts",
            504,
            "timeout",
        ),
    ] {
        let problem = front.get(path, None).await.expect_problem(status, code);
        assert_eq!(problem["instance"], "/api/posts", "{problem}");
    }
    for path in ["/errors/418", "/errors/200", "/errors", "/nowhere"] {
        front.get(path, None).await.expect_problem(404, "not_found");
    }
    front
        .get("/nowhere//else", None)
        .await
        .expect_problem(400, "bad_path");
}

#[tokio::test]
async fn the_front_needs_no_secret_and_nobody_has_to_tell_it_one() {
    let folder = Folder::new();
    let production = [("ENVIRONMENT", "production")];
    let front = folder
        .front_with(&at("127.0.0.1:1", None), &production)
        .await;
    front.get("/health", None).await.expect(200);
    front.stop().await;
    // A server does.
    let mut serve = folder.command(&["serve", "--port", "0"]);
    let output = serve.envs(production).output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("SECRET_KEY is not set"), "{said}");
}
