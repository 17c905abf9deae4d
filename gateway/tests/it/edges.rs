//! The front's own answers, and the requests that never pass it.

use serde_json::json;
use testkit::http::raw;

use crate::world::Folder;

/// Every way to claim to be somebody else that a proxy was ever fooled by.
const FORGED: &[&str] = &[
    "X-User-ID: 1",
    "x-user-id: 1",
    "X_User_ID: 1",
    "X-User_Id: 1",
    "x.user.id: 1",
    "X-USER-ID: 1\r\nX-User-ID: 2",
    "X-User-Name: ada\r\nX-User-Email: ada@example.org\r\nX-User-Role: admin\r\nX-User-ID: 1",
    "X-Identity: eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.",
    "X_Identity: eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.",
    "Connection: X-User-ID\r\nX-User-ID: 1",
    "X-Forwarded-User: 1\r\nX-User-ID: 1",
    "X-Original-URL: /api/auth/login\r\nX-User-ID: 1",
    "X-HTTP-Method-Override: GET\r\nX-User-ID: 1",
];

#[tokio::test]
async fn identity_headers_from_outside_make_nobody_of_a_stranger() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    let (_, ada) = rookery.join("ada").await;
    let (bob, token) = rookery.join("bob").await;
    let post = rookery.publish(&ada, "of Ada").await;
    let address = rookery.client.address();
    for forged in FORGED {
        for (method, path) in [
            ("GET", "/api/profile".to_owned()),
            ("GET", "/api/auth/me".to_owned()),
            ("DELETE", format!("/api/posts/{post}")),
            ("DELETE", format!("/api/posts/{post}/")),
        ] {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: r\r\n{forged}\r\n");
            // Without a token it is nobody.
            let nobody = format!("{request}Connection: close\r\n\r\n");
            let answer = raw(address, nobody.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 401"), "{nobody}{answer}");
            // With one it is whose token it is.
            let known =
                format!("{request}Authorization: Bearer {token}\r\nConnection: close\r\n\r\n");
            let answer = raw(address, known.as_bytes()).await;
            let expected = match (method, path.as_str()) {
                ("DELETE", _) => "HTTP/1.1 403",
                (_, "/api/profile") => "HTTP/1.1 404",
                _ => "HTTP/1.1 200",
            };
            assert!(answer.starts_with(expected), "{known}{answer}");
            if path == "/api/auth/me" {
                assert!(answer.contains(&format!("\"id\":{bob},")), "{answer}");
            }
        }
    }
    rookery
        .get(&format!("/api/posts/{post}"), None)
        .await
        .expect(200);
}

#[tokio::test]
async fn tokens_that_are_none_are_401_where_one_is_needed_and_no_matter_where_none_is() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    let (_, token) = rookery.join("ada").await;
    let (head, rest) = token.split_once('.').unwrap();
    let (claims, signature) = rest.split_once('.').unwrap();
    // {"alg":"none"} and {"alg":"NonE"}
    let none = ["eyJhbGciOiJub25lIn0", "eyJhbGciOiJOb25FIn0"];
    let mut bad = vec![
        "nonsense".to_owned(),
        format!("{head}.{claims}."),
        format!("{head}.{claims}x.{signature}"),
        format!(
            "{head}.{claims}.{}",
            signature.chars().rev().collect::<String>()
        ),
    ];
    bad.extend(none.iter().map(|none| format!("{none}.{claims}.")));
    bad.extend(
        none.iter()
            .map(|none| format!("{none}.{claims}.{signature}")),
    );
    for token in &bad {
        let token = Some(token.as_str());
        for path in ["/api/profile", "/api/posts", "/api/activity-stream"] {
            let answer = rookery.get(path, token).await;
            answer.expect_problem(401, "invalid_token");
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
        // It never keeps anybody from logging in.
        let who = json!({"username": "ada", "password": crate::world::PASSWORD});
        rookery
            .post("/api/auth/login", token, who)
            .await
            .expect(200);
    }
    rookery
        .get("/api/profile", None)
        .await
        .expect_problem(401, "unauthenticated");
    rookery.get("/api/posts", None).await.expect(200);
}

#[tokio::test]
async fn every_path_answers_with_and_without_a_trailing_slash() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    let (id, token) = rookery.join("ada").await;
    let post = rookery.publish(&token, "a post").await;
    let token = Some(token.as_str());
    for path in [
        "/health".to_owned(),
        "/ready".into(),
        "/health/db".into(),
        "/health/events".into(),
        "/docs".into(),
        "/redoc".into(),
        "/openapi.json".into(),
        "/.well-known/jwks.json".into(),
        "/api/auth/me".into(),
        "/api/auth/sessions".into(),
        "/api/posts".into(),
        format!("/api/posts/{post}"),
        "/api/activity-stream".into(),
        "/api/activity-stream/user".into(),
        format!("/api/activity-stream/user/{id}"),
        "/api/activity-stream/stats".into(),
        "/api/notifications".into(),
        "/api/notifications/unread-count".into(),
    ] {
        for path in [path.clone(), format!("{path}/"), format!("{path}/?")] {
            let answer = rookery.get(&path, token).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        }
    }
    let index = rookery.get("/", None).await.expect(200);
    assert_eq!(index["name"], "rookery");
    assert_eq!(index["links"]["docs"], "/docs");
    let health = rookery.get("/health", None).await.expect(200);
    for service in gateway::roster::ROSTER.iter().map(|of| of.name) {
        assert_eq!(health["services"][service], "ok", "{health}");
    }
    let metrics = rookery.get("/metrics", None).await.text();
    assert!(
        metrics.contains("http_requests_total{service=\"posts\""),
        "{metrics}"
    );
    assert!(metrics.contains("consumer_lag{"), "{metrics}");
    for (service, kind, name) in [
        ("auth", "command", "auth.login"),
        ("posts", "command", "posts.create"),
        ("feed-generator", "query", "feed.stream"),
        ("notification", "query", "notifications.list"),
    ] {
        let labels = format!(r#"service="{service}",kind="{kind}",command="{name}",outcome="ok""#);
        let counted = format!("commands_total{{{labels}}}");
        assert!(metrics.contains(&counted), "{counted} is not in {metrics}");
    }
}

#[tokio::test]
async fn the_metrics_are_not_passed_on_by_a_proxy_unless_they_are_opened() {
    let folder = Folder::new();
    let passed_on = |path: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: r\r\nX-Forwarded-For: 192.0.2.1\r\nConnection: close\r\n\r\n"
        )
    };
    let rookery = folder.serve().await;
    for path in ["/metrics", "/metrics/"] {
        assert_eq!(rookery.get(path, None).await.status, 200, "{path}");
        let answer = raw(rookery.client.address(), passed_on(path).as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }
    rookery.stop().await;
    let rookery = folder.serve_with(&[("METRICS_PUBLIC", "true")]).await;
    let answer = raw(rookery.client.address(), passed_on("/metrics").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn what_no_handler_answers_is_a_problem() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    let (_, token) = rookery.join("ada").await;
    let token = Some(token.as_str());
    rookery
        .get("/nope", None)
        .await
        .expect_problem(404, "not_found");
    let answer = rookery
        .client
        .send("PATCH", "/api/posts", token, None)
        .await;
    answer.expect_problem(405, "method_not_allowed");
    assert!(answer.headers.contains_key("allow"));

    // By its length alone, before any of it was sent.
    let large = "POST /api/auth/login HTTP/1.1\r\nHost: r\r\nContent-Type: application/json\r\n\
                 Content-Length: 2000000\r\nConnection: close\r\n\r\n";
    let answer = raw(rookery.client.address(), large.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("body_too_large"), "{answer}");
    let form = rookery
        .client
        .request("POST", "/api/auth/login")
        .header("content-type", "application/x-www-form-urlencoded")
        .body("username=ada")
        .unwrap();
    let answer = rookery.client.give(form).await;
    answer.expect_problem(415, "unsupported_media_type");
    let packed = rookery
        .client
        .request("POST", "/api/auth/login")
        .header("content-type", "application/json")
        .header("content-encoding", "gzip")
        .body("{}")
        .unwrap();
    let answer = rookery.client.give(packed).await;
    answer.expect_problem(415, "unsupported_media_type");
    let broken = rookery
        .client
        .request("POST", "/api/auth/login")
        .header("content-type", "application/json")
        .body("{\"username\":")
        .unwrap();
    rookery
        .client
        .give(broken)
        .await
        .expect_problem(400, "malformed_json");
    let nul = json!({"username": "a\u{0}b", "password": "12345678"});
    let problem = rookery.post("/api/auth/login", None, nul).await;
    let problem = problem.expect_problem(400, "validation_failed");
    assert!(problem["errors"]["username"].is_array(), "{problem}");
    for query in [
        "limit=0",
        "limit=-1",
        "limit=101",
        "limit=x",
        "skip=-1",
        "skip=10001",
        "cursor=!!",
    ] {
        let answer = rookery.get(&format!("/api/posts?{query}"), None).await;
        let problem = answer.expect_problem(400, "validation_failed");
        let field = query.split_once('=').unwrap().0;
        assert!(problem["errors"][field].is_array(), "{query}: {problem}");
    }
}

#[tokio::test]
async fn paths_with_tricks_in_them_are_refused_before_any_rule_is_looked_up() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    for path in [
        "//api/profile",
        "/api//profile",
        "/api/./profile",
        "/api/posts/../profile",
        "/api/posts/%2e%2e/profile",
        "/api%2fprofile",
        "/api/profile%00",
        "/api\\profile",
        "/api/%5c/profile",
        "/api/profile//",
        "/api/%ff",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n");
        let answer = raw(rookery.client.address(), request.as_bytes()).await;
        // A few are no HTTP at all: the parser refuses these without a body.
        assert!(answer.starts_with("HTTP/1.1 400"), "{path}: {answer}");
    }
    let answer = raw(
        rookery.client.address(),
        b"GET http://r/api/profile HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

#[tokio::test]
async fn a_packed_answer_is_known_again_by_its_tag() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    let (_, ada) = rookery.join("ada").await;
    let post = json!({"title": "t", "content": "c".repeat(5000)});
    let post = rookery.post("/api/posts", Some(&ada), post).await;
    let path = format!("/api/posts/{}", post.json()["id"].as_str().unwrap());
    let get = async |tag: &str| {
        let request = rookery.client.request("GET", &path);
        let request = request
            .header("accept-encoding", "gzip")
            .header("if-none-match", tag);
        rookery.client.give(request.body("").unwrap()).await
    };
    let packed = get("").await;
    assert_eq!(packed.headers["content-encoding"], "gzip");
    let tag = packed.headers["etag"].to_str().unwrap();
    for tag in [tag.to_owned(), format!("W/{tag}")] {
        let same = get(&tag).await;
        assert_eq!((same.status.as_u16(), same.body.len()), (304, 0));
        assert!(!same.headers.contains_key("content-encoding"));
    }
}

#[tokio::test]
async fn large_answers_are_packed_where_the_client_takes_it() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    let get = async |path: &str, takes: &str| {
        let request = rookery.client.request("GET", path);
        let request = request.header("accept-encoding", takes).body("").unwrap();
        rookery.client.give(request).await
    };
    let packed = get("/openapi.json", "gzip, br").await;
    assert_eq!(packed.headers["content-encoding"], "gzip");
    assert_eq!(&packed.body[..2], [0x1f, 0x8b]);
    for (path, takes) in [
        ("/openapi.json", "identity"),
        ("/openapi.json", "gzip;q=0"),
        ("/", "gzip"),
    ] {
        let plain = get(path, takes).await;
        assert!(
            !plain.headers.contains_key("content-encoding"),
            "{path} {takes}"
        );
        plain.json();
    }
}

#[tokio::test]
async fn web_pages_may_call_from_the_origins_that_were_named_and_from_no_other() {
    let folder = Folder::new();
    let rookery = folder
        .serve_with(&[("CORS_ALLOW_ORIGINS", "https://app.example.org")])
        .await;
    let ask = async |origin: &str| {
        let request = rookery
            .client
            .request("OPTIONS", "/api/posts")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,content-type",
            )
            .body("")
            .unwrap();
        rookery.client.give(request).await
    };
    let allowed = ask("https://app.example.org").await;
    assert_eq!(allowed.status, 200);
    assert_eq!(
        allowed.headers["access-control-allow-origin"],
        "https://app.example.org"
    );
    let other = ask("https://evil.example").await;
    assert!(!other.headers.contains_key("access-control-allow-origin"));
    // The answer to a request that was refused can be read, too.
    let request = rookery.client.request("GET", "/api/profile");
    let request = request.header("origin", "https://app.example.org").body("");
    let refused = rookery.client.give(request.unwrap()).await;
    refused.expect_problem(401, "unauthenticated");
    assert!(refused.headers.contains_key("access-control-allow-origin"));
}
