//! Waiting for servers: with growing pauses, and with log lines that name the setting.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use blocks::backoff::{Backoff, Reminder};
use blocks::error::{BoxError, chain};
use blocks::health;
use blocks::service::Check;
use futures::future::BoxFuture;
use http::Uri;
use parking_lot::Mutex;
use sql::Db;
use tokio::time::timeout;

/// Time that one attempt may take: some servers never answer a protocol that is not theirs.
const ATTEMPT: Duration = Duration::from_secs(10);

/// Time that an operator waits for a server that may not understand the question.
const OPERATOR_WAITS: Duration = Duration::from_secs(15);

/// The time to wait for servers.
pub(super) enum Patience {
    /// No limit; meanwhile `/ready` names the missing parts.
    ForEver(Waits),
    /// A short time: an operator waits for the answer.
    Once,
}

impl Patience {
    /// See [`service::Place::attempt`].
    pub(super) async fn wait(
        &self,
        part: &'static str,
        what: String,
        attempt: &(dyn Fn() -> BoxFuture<'static, Result<(), BoxError>> + Sync),
    ) -> anyhow::Result<()> {
        if let Self::ForEver(waits) = self {
            waits.until(part, what, attempt).await;
            return Ok(());
        }
        let why = match timeout(OPERATOR_WAITS, attempt()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => chain(&*error),
            Err(_) => format!("no answer within {} s", OPERATOR_WAITS.as_secs()),
        };
        anyhow::bail!("could not use {what}: {why}")
    }
}

/// The parts that are waited for.
#[derive(Debug, Clone, Default)]
pub(super) struct Waits(Arc<Mutex<BTreeMap<&'static str, String>>>);

impl Waits {
    /// Tries `open` until it succeeds, and logs why it does not.
    pub(super) async fn until<T, F>(
        &self,
        part: &'static str,
        what: String,
        open: impl Fn() -> F,
    ) -> T
    where
        F: Future<Output = Result<T, BoxError>>,
    {
        let mut backoff = Backoff::default();
        let mut reminder = Reminder::default();
        self.0
            .lock()
            .insert(part, format!("{what} is not there yet"));
        loop {
            let reason = match timeout(ATTEMPT, open()).await {
                Ok(Ok(opened)) => {
                    self.0.lock().remove(part);
                    if backoff.failures() > 0 {
                        tracing::info!("{what} is there");
                    }
                    return opened;
                }
                Ok(Err(error)) => chain(&*error),
                Err(_) => format!(
                    "no answer within {} s, as from a server of another kind",
                    ATTEMPT.as_secs()
                ),
            };
            if reminder.is_due(&reason) {
                tracing::warn!(error = reason, "waiting for {what}");
            }
            self.0.lock().insert(part, format!("{what}: {reason}"));
            tokio::time::sleep(backoff.pause()).await;
        }
    }
}

/// All missing parts as one check: they come and go.
#[async_trait]
impl Check for Waits {
    fn name(&self) -> &'static str {
        health::DATABASE
    }

    async fn check(&self) -> Result<(), BoxError> {
        let missing = self.0.lock().values().next().cloned();
        Err(missing.map_or("the service is being opened".into(), Into::into))
    }
}

/// The host and port in the URL that `setting` holds. The rest is never shown: it contains the password.
///
/// # Errors
/// When it names no PostgreSQL server.
pub fn server_of(setting: &str, url: &str) -> anyhow::Result<String> {
    let example = "expected postgres://user:password@host:5432/database";
    let uri: Uri = url
        .parse()
        .ok()
        .with_context(|| format!("{setting} is no URL: {example}"))?;
    let is_postgres = matches!(uri.scheme_str(), Some("postgres" | "postgresql"));
    let host = uri.host().filter(|host| !host.is_empty() && is_postgres);
    let host = host.with_context(|| format!("{setting} names no PostgreSQL server: {example}"))?;
    Db::check_postgres_url(url)
        .map_err(|why| anyhow::anyhow!("{setting} can't be used: {}: {example}", chain(&*why)))?;
    Ok(format!("{host}:{}", uri.port_u16().unwrap_or(5432)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn a_server_is_named_without_what_is_secret_in_its_url() {
        let url = "postgres://ada:correct%20horse@db.example:6543/rookery";
        assert_eq!(server_of("DATABASE_URL", url).unwrap(), "db.example:6543");
        let url = "postgresql://db/rookery";
        assert_eq!(server_of("DATABASE_URL", url).unwrap(), "db:5432");
        for url in [
            "mysql://ada:secret@db/rookery",
            "secret",
            "postgres://",
            "postgres://ada:secret@db:99999/rookery",
            "postgres://ada:secret@db/rookery?sslmode=sometimes",
            "/run/secret",
        ] {
            let error = format!("{:#}", server_of("DATABASE_URL", url).unwrap_err());
            assert!(error.contains("DATABASE_URL"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_there_is_tried_again_and_named_meanwhile() {
        let waits = Waits::default();
        let attempts = AtomicU32::new(0);
        let opened = waits.until("database", "a server (SETTING)".into(), || async {
            match attempts.fetch_add(1, Ordering::SeqCst) {
                0 => Err("refused".into()),
                1 => std::future::pending().await,
                2 => {
                    let said = waits.check().await.unwrap_err().to_string();
                    assert!(said.starts_with("a server (SETTING): no answer within 10 s"));
                    Ok("it")
                }
                _ => panic!("it was opened already"),
            }
        });
        assert_eq!(opened.await, "it");
        let said = waits.check().await.unwrap_err().to_string();
        assert_eq!(said, "the service is being opened");
    }
}
