//! `--offline`: this process opens the stores itself, and changes nothing of their schema.

use std::sync::Arc;

use axum::Router;
use blocks::SystemClock;
use blocks::config::Config;
use runtime::operator::Operator;
use runtime::{Embedded, Stores};
use service::settings::KAFKA_BOOTSTRAP_SERVERS;
use service::{Place, Role};
use tokio_util::sync::CancellationToken;

use crate::site::{self, Site};

/// The stores that were opened.
pub(super) struct Offline(Box<dyn Stores>);

impl Offline {
    /// Opens the folder, or the stores of the fleet that the configuration names. Answers the API over them,
    /// and the errors of stores that can't be opened.
    pub(super) async fn open(config: &Config) -> anyhow::Result<(Self, Router, Vec<String>)> {
        if config.get(&KAFKA_BOOTSTRAP_SERVERS).is_some() {
            return fleet(config).await;
        }
        config.judge()?;
        let folder = site::folder(config, "of your server")?;
        let clock = Arc::new(SystemClock);
        let embedded = Embedded::open(config, folder, clock, Role::StandsIn).await?;
        let (api, failed) = api(&embedded).await?;
        Ok((Self(Box::new(embedded)), api, failed))
    }

    pub(super) async fn close(self) {
        self.0.close().await;
    }
}

#[cfg(feature = "fleet")]
async fn fleet(config: &Config) -> anyhow::Result<(Offline, Router, Vec<String>)> {
    use crate::roster::ROSTER;
    let clock = Arc::new(SystemClock);
    let fleet = runtime::fleet::Fleet::for_operator(config, clock, Role::Looks, ROSTER).await?;
    let (api, failed) = api(&fleet).await?;
    Ok((Offline(Box::new(fleet)), api, failed))
}

#[cfg(not(feature = "fleet"))]
#[expect(clippy::unused_async, reason = "with the feature it waits for servers")]
async fn fleet(_: &Config) -> anyhow::Result<(Offline, Router, Vec<String>)> {
    anyhow::bail!(
        "KAFKA_BOOTSTRAP_SERVERS names a fleet, and this executable was built without what opens its \
         stores: cargo build -p gateway --features fleet"
    )
}

async fn api(place: &dyn Place) -> anyhow::Result<(Router, Vec<String>)> {
    let (site, failed) = Site::open_some(place).await;
    let failed: Vec<String> = failed.iter().map(|why| format!("{why:#}")).collect();
    anyhow::ensure!(!site.opened.is_empty(), "{}", failed.join("; "));
    let api = Operator::router(&site.opened, place, CancellationToken::new());
    Ok((api, failed))
}
