//! What is logged.

use std::io::{self, Write};
use std::sync::Arc;

use http_client::Auth;
use parking_lot::Mutex;
use tracing_subscriber::fmt::MakeWriter;

use crate::client;
use crate::server::{Does, Server, answer};

/// All lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

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
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(lines.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let request = client.put("/things").query(&[("key", "canary-query")]);
    let request = request
        .header("x-api-key", "canary-key")
        .json("canary-body");
    let shown = format!("{request:?}");
    let answer = request.send().await.unwrap();
    let failed = answer.json::<u8>().unwrap_err();
    drop(guard);
    let log = String::from_utf8(lines.0.lock().clone()).unwrap();
    assert_eq!(api.heard().len(), 3, "{log}");
    assert!(log.contains("answered") && log.contains("/things"), "{log}");
    assert!(
        log.contains("will try again") && log.contains("set-cookie"),
        "{log}"
    );
    let shown = format!("{log} {shown} {answer:?} {failed:?} {client:?}");
    assert!(!shown.contains("canary"), "{shown}");
}
