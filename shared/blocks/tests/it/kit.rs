//! The kit around a router, by one-shot requests and over real connections.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use blocks::extract::ValidJson;
use blocks::kit::{Kit, Limits, Normalize, serve};
use blocks::metrics::Metrics;
use blocks::service::{Mode, Route};
use http::{Method, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{Answer, ask, kit, read};

const ROUTES: &[Route] = &[Route {
    methods: &["GET"],
    path: "/api/posts/{id}",
    mode: Mode::Optional,
}];

fn small() -> Limits {
    Limits {
        body: 16,
        time: Duration::from_millis(50),
        ..Limits::default()
    }
}

async fn panics() -> &'static str {
    panic!("a handler's mistake")
}

fn routes() -> Router {
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
    let page = metrics.encode().unwrap();
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

struct Server {
    address: std::net::SocketAddr,
    stop: CancellationToken,
    stopped: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Server {
    async fn start(app: Router, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let token = stop.clone();
        let kit = Kit::new("rookery", limits.clone(), Metrics::new());
        let work = async move { serve(listener, kit.wrap(app), &limits, token).await };
        let stopped = tokio_util::task::TaskTracker::new().spawn(work);
        Self {
            address,
            stop,
            stopped,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

async fn say(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

async fn rest(mut stream: TcpStream) -> String {
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await.unwrap();
    String::from_utf8(text).unwrap()
}

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_stop_finishes_what_is_under_way_and_takes_nothing_new() {
    let (entered, go) = (
        std::sync::Arc::new(Notify::new()),
        std::sync::Arc::new(Notify::new()),
    );
    let (tell, wait) = (entered.clone(), go.clone());
    let slow = get(async move || {
        tell.notify_one();
        wait.notified().await;
        "done"
    });
    let limits = Limits {
        grace: LONG,
        ..Limits::default()
    };
    let server = Server::start(Router::new().route("/slow", slow), limits).await;
    let mut busy = server.connect().await;
    say(&mut busy, "GET /slow/ HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let silent = server.connect().await;
    entered.notified().await;
    server.stop.cancel();
    // The silent connection is let go without waiting for the grace period.
    assert_eq!(
        tokio::time::timeout(LONG / 2, rest(silent)).await.unwrap(),
        ""
    );
    assert!(!server.stopped.is_finished());
    go.notify_one();
    let answer = rest(busy).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("done"),
        "{answer}"
    );
    tokio::time::timeout(LONG / 2, server.stopped)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn the_grace_period_cuts_what_does_not_end() {
    let limits = Limits {
        grace: Duration::from_millis(20),
        ..Limits::default()
    };
    let entered = std::sync::Arc::new(Notify::new());
    let tell = entered.clone();
    let never = get(async move || {
        tell.notify_one();
        std::future::pending::<String>().await
    });
    let server = Server::start(Router::new().route("/never", never), limits).await;
    let mut stream = server.connect().await;
    say(&mut stream, "GET /never HTTP/1.1\r\nhost: x\r\n\r\n").await;
    entered.notified().await;
    server.stop.cancel();
    tokio::time::timeout(LONG, server.stopped)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(rest(stream).await, "");
}

#[tokio::test]
async fn a_client_that_does_not_send_its_body_is_told_so_and_a_slow_handler_is_not_blamed_on_it() {
    let limits = Limits {
        body_time: Duration::from_millis(50),
        time: Duration::from_millis(100),
        ..Limits::default()
    };
    let server = Server::start(routes(), limits).await;
    let mut stream = server.connect().await;
    let json = "content-type: application/json\r\n";
    say(
        &mut stream,
        &format!("POST /json HTTP/1.1\r\nhost: x\r\n{json}content-length: 50\r\n\r\n{{"),
    )
    .await;
    let answer = rest(stream).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("body_timeout"), "{answer}");
    let mut stream = server.connect().await;
    let never = "GET /never HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    say(&mut stream, never).await;
    let answer = rest(stream).await;
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
}

/// Tells when nobody holds it any more.
struct Held(std::sync::Arc<Notify>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tokio::test]
async fn an_answer_is_sent_while_it_is_taken_and_dropped_when_it_is_not() {
    let dropped = std::sync::Arc::new(Notify::new());
    let tell = dropped.clone();
    let endless = get(async move || {
        let chunks = futures::stream::unfold(Held(tell), async |held| {
            let chunk = Bytes::from_static(&[b'x'; 1 << 14]);
            Some((Ok::<_, std::convert::Infallible>(chunk), held))
        });
        Body::from_stream(chunks)
    });
    let limits = Limits {
        write_time: Duration::from_millis(200),
        ..Limits::default()
    };
    let app = Router::new().route("/endless", endless);
    let server = Server::start(app, limits).await;
    let mut stream = server.connect().await;
    say(&mut stream, "GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await;
    // More than all buffers on the way hold, so that the server has to wait for it again and again.
    let mut taken = vec![0; 32 << 20];
    stream.read_exact(&mut taken).await.unwrap();
    tokio::time::timeout(LONG, dropped.notified())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_connection_over_the_most_there_may_be_waits_until_another_ends() {
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let server = Server::start(routes(), limits).await;
    let ask = "GET /api/posts/1 HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut first = server.connect().await;
    say(&mut first, ask).await;
    let mut some = [0; 16];
    first.read_exact(&mut some).await.unwrap();
    let mut second = server.connect().await;
    say(&mut second, ask).await;
    let early = tokio::time::timeout(Duration::from_millis(100), second.read(&mut some)).await;
    assert!(early.is_err(), "it was served beside the first");
    drop(first);
    tokio::time::timeout(LONG, second.read_exact(&mut some))
        .await
        .unwrap()
        .unwrap();
    assert!(some.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_place() {
    let limits = Limits {
        connections: 1,
        grace: Duration::from_millis(20),
        ..Limits::default()
    };
    let server = Server::start(routes(), limits).await;
    let mut first = server.connect().await;
    say(&mut first, "GET /never HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let _second = server.connect().await;
    server.stop.cancel();
    tokio::time::timeout(LONG, server.stopped)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn who_sends_a_large_body_before_reading_sees_why_it_is_refused() {
    let server = Server::start(routes(), small()).await;
    let body = "x".repeat(8 << 20);
    for _ in 0..5 {
        let mut stream = server.connect().await;
        let head = format!(
            "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n",
            body.len()
        );
        say(
            &mut stream,
            &format!("{head}connection: close\r\n\r\n{body}"),
        )
        .await;
        let answer = rest(stream).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    }
}

#[tokio::test]
async fn over_a_connection_nothing_that_is_sent_makes_a_5xx() {
    let limits = Limits {
        head: 8192,
        head_time: Duration::from_millis(100),
        ..small()
    };
    let server = Server::start(routes(), limits).await;
    let long = "x".repeat(20_000);
    for (sent, status) in [
        ("GET /api/posts/1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(), "200"),
        ("GET http://x/api/posts/1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(), "200"),
        ("GET //x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(), "400"),
        ("OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(), "404"),
        ("CONNECT x:1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_owned(), "400"),
        ("garbage\r\n\r\n".to_owned(), "400"),
        (format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n"), "431"),
        (format!("GET / HTTP/1.1\r\nhost: x\r\nx: {long}\r\n\r\n"), "431"),
        ("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 17\r\nconnection: close\r\n\r\n".to_owned(), "413"),
        ("POST /json HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n14\r\n01234567890123456789\r\n0\r\n\r\n".to_owned(), "413"),
    ] {
        let mut stream = server.connect().await;
        say(&mut stream, &sent).await;
        let answer = rest(stream).await;
        let line: String = sent.chars().take(40).collect();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{line}: {answer}");
    }
    // A head that does not come ends the connection.
    let mut stream = server.connect().await;
    say(&mut stream, "GET /api").await;
    let said = tokio::time::timeout(LONG, rest(stream)).await.unwrap();
    assert!(
        said.is_empty() || said.starts_with("HTTP/1.1 408"),
        "{said}"
    );
}
