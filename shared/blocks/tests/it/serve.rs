//! The kit's server, over real connections.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use blocks::kit::{Kit, Limits, serve};
use blocks::metrics::Metrics;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::kit::{routes, small};

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
