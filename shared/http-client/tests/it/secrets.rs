//! What is logged.

use std::io::{self, Write};
use std::sync::Arc;

use blocks::AsProblem;
use blocks::problem::respond;
use http_client::{Auth, Breaker, Kind, Retry};
use parking_lot::Mutex;
use tracing::Level;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

use crate::client;
use crate::server::{Does, Server, answer, ok};

/// All lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Keeps all lines of `level` and above until the guard is dropped.
fn listen(level: Level) -> (Lines, DefaultGuard) {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_writer(lines.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    (lines, guard)
}

#[tokio::test]
async fn no_line_of_any_level_shows_a_secret() {
    let grants = r#"{"access_token":"canary-token","token_type":"Bearer"}"#;
    let issuer = Server::doing([answer(200, &[], grants)]).await;
    let api = Server::doing([
        answer(
            503,
            &[("set-cookie", "session=canary-cookie")],
            "canary-answer",
        ),
        Does::Close(String::new()),
        answer(200, &[], "canary-answer"),
    ])
    .await;
    let (client, _) = client(&api, |settings| {
        let auth = format!("oauth2 rookery canary-secret {}/token", issuer.url());
        settings.auth = Auth::parse(&auth).unwrap();
    });
    let (lines, guard) = listen(Level::TRACE);
    let request = client.put("/things").query(&[("key", "canary-query")]);
    let request = request
        .header("x-api-key", "canary-key")
        .json("canary-body");
    let shown = format!("{request:?}");
    let answer = request.send().await.unwrap();
    let failed = answer.json::<u8>().unwrap_err();
    drop(guard);
    let log = lines.text();
    assert_eq!(api.heard().len(), 3, "{log}");
    assert!(log.contains("answered") && log.contains("/things"), "{log}");
    assert!(
        log.contains("will try again") && log.contains("set-cookie"),
        "{log}"
    );
    let shown = format!("{log} {shown} {answer:?} {failed:?} {client:?}");
    assert!(!shown.contains("canary"), "{shown}");
}

#[tokio::test]
async fn where_a_redirect_leads_is_logged_without_what_may_be_secret() {
    let (lines, guard) = listen(Level::TRACE);
    for location in [
        "/there?code=canary#canary",
        "https://user:canary@id.example.com/there?token=canary",
        "//canary@/there",
        "https://[canary",
    ] {
        let headers = [("location", location), ("content-location", location)];
        let link = format!("<{location}>; rel=next");
        let headers = headers.into_iter().chain([("link", &*link)]);
        let headers: Vec<_> = headers.collect();
        for redirects in [0, 1] {
            let server = Server::doing([answer(302, &headers, ""), ok("")]).await;
            let (client, _) = client(&server, |settings| settings.redirects = redirects);
            let referer = client.get("/").header("referer", location);
            let answer = referer.send().await.unwrap();
            // The caller has it as it came.
            assert!(answer.status != 302 || answer.headers["location"] == location);
        }
    }
    drop(guard);
    let log = lines.text();
    assert!(log.contains("https://id.example.com/there"), "{log}");
    assert!(log.contains("/there\""), "{log}");
    assert!(!log.contains("canary"), "{log}");
}

#[tokio::test]
async fn an_answer_that_may_be_expected_is_no_warning_and_a_refusal_by_the_breaker_is_one_for_all()
{
    let server = Server::doing([answer(404, &[], ""), answer(500, &[], "")]).await;
    let (lines, guard) = listen(Level::INFO);
    let (client, _) = client(&server, |settings| {
        settings.retry = Retry::NEVER;
        settings.breaker = Some(Breaker {
            minimum: 2,
            ..Breaker::default()
        });
    });
    assert_eq!(client.get("/").send().await.unwrap().status, 404);
    assert_eq!(lines.text(), "");
    let fails = client.get("/").send().await.unwrap().success().unwrap_err();
    assert!(fails.is_fault());
    let opens = lines.text();
    assert_eq!(opens.lines().count(), 1, "{opens}");
    for _ in 0..3 {
        let refused = client.get("/").send().await.unwrap_err();
        assert_eq!((refused.kind(), refused.is_fault()), (&Kind::Open, false));
        assert_eq!(respond(&refused).status(), 503);
    }
    drop(guard);
    assert_eq!(lines.text(), opens);
}
