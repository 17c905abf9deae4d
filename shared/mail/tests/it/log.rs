//! What a log holds of a mail that reaches nobody.

use std::io;
use std::sync::Arc;

use blocks::config::Config;
use parking_lot::Mutex;
use tracing::instrument::WithSubscriber;

use crate::mail;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn logged(environment: &str) -> String {
    let variables = [("ENVIRONMENT".to_owned(), environment.to_owned())];
    let config = Config::from_sources(None, variables, mail::SETTINGS).unwrap();
    let mailer = mail::open(&config).unwrap();
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let sent = async { mailer.send(&mail()).await };
    sent.with_subscriber(log).await.unwrap();
    let lines = lines.0.lock();
    String::from_utf8_lossy(&lines).into_owned()
}

#[tokio::test]
async fn a_link_stands_in_the_log_in_development_alone() {
    assert!(
        logged("development")
            .await
            .contains("https://example.org/reset#abc")
    );
    let log = logged("production").await;
    assert!(log.contains(&mail().id.to_string()), "{log}");
    for secret in ["abc", "ada@example.org", "reset"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}
