//! The keys that identities are signed with, asked of auth over HTTP and remembered.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use blocks::error::BoxError;
use blocks::identity::{Jwk, KeySet, KeySource, VerifyingKey};
use blocks::metrics::Metrics;
use http_client::{Client, Settings};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

const PATH: &str = "/.well-known/jwks.json";
/// Time that auth may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// The answer is asked for again after this time: a retired key must not hold for ever.
const FRESH: Duration = Duration::from_mins(1);
/// Auth is asked for unknown keys at most this often: names of keys are cheap to make up.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Size limit of an answer; a key set has some hundred bytes.
const MOST_BYTES: usize = 64 * 1024;

/// Auth's public keys, over HTTP.
pub struct RemoteKeys {
    auth: Client,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    keys: KeySet,
    asked: Option<Instant>,
    /// True if the last request got an answer.
    is_answered: bool,
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Jwk>,
}

impl RemoteKeys {
    /// The keys of the auth service at `auth_url`, from `AUTH_URL`. Nothing is asked yet.
    ///
    /// # Errors
    /// When that is no `http://host:port`.
    pub fn new(auth_url: &str, metrics: &Metrics) -> anyhow::Result<Self> {
        let expected = || format!("AUTH_URL is {auth_url:?}, expected http://host:port");
        anyhow::ensure!(auth_url.starts_with("http://"), expected());
        let settings = Settings {
            max_bytes: MOST_BYTES,
            ..Settings::once("auth", auth_url, PATIENCE)
        };
        Ok(Self {
            auth: Client::new(settings, metrics).with_context(expected)?,
            known: Mutex::default(),
        })
    }

    async fn ask(&self) -> anyhow::Result<KeySet> {
        let asking = async {
            let jwks: Jwks = self.auth.get(PATH).send().await?.success()?.json()?;
            anyhow::Ok(KeySet::read(&jwks.keys)?)
        };
        asking.await.context("could not get auth's keys (AUTH_URL)")
    }
}

#[async_trait]
impl KeySource for RemoteKeys {
    /// A known key also holds while auth is away: assertions signed with it are a minute old at most.
    async fn key(&self, kid: &str) -> Result<Option<Arc<VerifyingKey>>, BoxError> {
        // Callers that come while auth is asked wait for the same answer.
        let mut known = self.known.lock().await;
        let found = known.keys.key(kid).await?;
        let since = known.asked.map(|asked| asked.elapsed());
        let is_due = match (&found, known.is_answered) {
            (Some(_), true) => since.is_none_or(|since| since >= FRESH),
            _ => since.is_none_or(|since| since >= ASK_AGAIN),
        };
        if is_due {
            known.asked = Some(Instant::now());
            match self.ask().await {
                Ok(keys) => {
                    known.keys = keys;
                    known.is_answered = true;
                    return known.keys.key(kid).await;
                }
                Err(error) => {
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "identities can't be checked anew"
                    );
                    known.is_answered = false;
                }
            }
        }
        match found {
            None if !known.is_answered => Err("auth's keys are not known now".into()),
            found => Ok(found),
        }
    }
}
