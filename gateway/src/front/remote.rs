//! Asking the services over HTTP.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use async_trait::async_trait;
use blocks::error::BoxError;
use blocks::health::{DATABASE, EVENTS};
use blocks::service::Check;
use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::address::Address;

/// The longest wait for an answer. A check is cut off after two seconds, so this one ends earlier and says
/// why.
const PATIENCE: Duration = Duration::from_millis(1_800);
/// The largest answer that is read.
const LARGEST: usize = 8 << 20;

/// A client for all of them.
#[derive(Clone)]
pub(super) struct Remote(Client<HttpConnector, Empty<Bytes>>);

impl Remote {
    pub fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }

    /// The body of a 2xx answer.
    pub async fn get(&self, url: &str) -> anyhow::Result<Bytes> {
        let uri: Uri = url.parse().context("not a URL")?;
        let work = async {
            let response = self.0.get(uri).await.context("no answer")?;
            let status = response.status();
            let body = Limited::new(response.into_body(), LARGEST).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
            if !status.is_success() {
                bail!("{status}: {}", detail(&body));
            }
            Ok(body)
        };
        match tokio::time::timeout(PATIENCE, work).await {
            Ok(outcome) => outcome.with_context(|| url.to_owned()),
            Err(_) => bail!("{url}: no answer within {} ms", PATIENCE.as_millis()),
        }
    }

    /// The checks of a service: of itself, its database and its events.
    pub fn checks(&self, address: &Address) -> Vec<Arc<dyn Check>> {
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
                url: format!("{}{path}", address.url),
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
    url: String,
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
        self.remote.get(&self.url).await?;
        Ok(())
    }
}
