//! Asking the services over HTTP.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use async_trait::async_trait;
use blocks::error::BoxError;
use blocks::health::{DATABASE, EVENTS};
use blocks::metrics::Metrics;
use blocks::service::Check;
use http_client::{Client, Response, Settings};

use crate::address::Address;

/// The longest wait for an answer. A check is cut off after two seconds, so this one ends earlier and says
/// why.
const PATIENCE: Duration = Duration::from_millis(1_800);
/// The largest answer that is read.
const LARGEST: usize = 8 << 20;

/// A service that is asked.
#[derive(Clone)]
pub(super) struct Remote(Client);

impl Remote {
    /// The service at `address`. It is asked once each time: whoever asks the front asks again.
    pub fn at(address: &Address, metrics: &Metrics) -> anyhow::Result<Self> {
        let settings = Settings {
            max_bytes: LARGEST,
            ..Settings::once(address.service, &address.url, PATIENCE)
        };
        Ok(Self(Client::new(settings, metrics)?))
    }

    /// A 2xx answer to a GET of `path`.
    pub async fn get(&self, path: &str) -> anyhow::Result<Response> {
        let answer = self.0.get(path).send().await?;
        if !answer.status.is_success() {
            bail!("{path}: {}: {}", answer.status, detail(&answer.body));
        }
        Ok(answer)
    }

    /// The checks of a service: of itself, its database and its events.
    pub fn checks(&self) -> Vec<Arc<dyn Check>> {
        [
            ("service", "/ready"),
            (DATABASE, "/health/db"),
            (EVENTS, "/health/events"),
        ]
        .into_iter()
        .map(|(name, path)| {
            let asked = Asked {
                remote: self.clone(),
                name,
                path,
            };
            Arc::new(asked) as Arc<dyn Check>
        })
        .collect()
    }
}

/// The detail of a problem, or the beginning of another body.
fn detail(body: &[u8]) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let detail = problem
        .as_ref()
        .and_then(|problem| problem["detail"].as_str());
    let text = detail.map_or_else(|| String::from_utf8_lossy(body), Into::into);
    text.chars().take(200).collect()
}

struct Asked {
    remote: Remote,
    name: &'static str,
    path: &'static str,
}

#[async_trait]
impl Check for Asked {
    fn name(&self) -> &'static str {
        self.name
    }

    /// Writes succeed without the broker, so a service without it is ready, and so is the fleet.
    fn is_vital(&self) -> bool {
        self.name != EVENTS
    }

    async fn check(&self) -> Result<(), BoxError> {
        self.remote.get(self.path).await?;
        Ok(())
    }
}
