//! `--offline`: this process opens the stores itself, and changes nothing of their schema.

use std::sync::Arc;

use axum::Router;
use blocks::SystemClock;
use blocks::config::Config;
use runtime::operator::Operator;
use runtime::{DataDir, Embedded, Stores};
use service::settings::KAFKA_BOOTSTRAP_SERVERS;
use service::{Place, Role};
use tokio_util::sync::CancellationToken;

use crate::site::Site;

/// The stores that were opened.
pub(super) struct Offline(Box<dyn Stores>);

impl Offline {
    /// Opens the folder, or the stores of the fleet that the configuration names, with what can be asked
    /// of them. A service whose store can't be opened is left out, and a warning says why.
    pub(super) async fn open(config: &Config) -> anyhow::Result<(Self, Router)> {
        if config.get(&KAFKA_BOOTSTRAP_SERVERS).is_some() {
            return fleet(config).await;
        }
        config.judge()?;
        if !config.data_dir.join("log.db").is_file() {
            anyhow::bail!(
                "there is no data in {}; DATA_DIR (or --data-dir) names the folder of your server",
                config.data_dir.display()
            );
        }
        let folder = DataDir::lock(&config.data_dir)?;
        let clock = Arc::new(SystemClock);
        let embedded = Embedded::open(config, folder, clock, Role::StandsIn).await?;
        let api = api(&embedded).await?;
        Ok((Self(Box::new(embedded)), api))
    }

    /// Lets go of it.
    pub(super) async fn close(self) {
        self.0.close().await;
    }
}

#[cfg(feature = "fleet")]
async fn fleet(config: &Config) -> anyhow::Result<(Offline, Router)> {
    use crate::roster::ROSTER;
    let clock = Arc::new(SystemClock);
    let fleet = runtime::fleet::Fleet::for_operator(config, clock, Role::Looks, ROSTER).await?;
    let api = api(&fleet).await?;
    Ok((Offline(Box::new(fleet)), api))
}

#[cfg(not(feature = "fleet"))]
#[expect(clippy::unused_async, reason = "with the feature it waits for servers")]
async fn fleet(_: &Config) -> anyhow::Result<(Offline, Router)> {
    anyhow::bail!(
        "KAFKA_BOOTSTRAP_SERVERS names a fleet, and this executable was built without what opens its \
         stores: cargo build -p gateway --features fleet"
    )
}

async fn api(place: &dyn Place) -> anyhow::Result<Router> {
    let (site, failed) = Site::open_some(place).await;
    for error in &failed {
        tracing::warn!("{error:#}");
    }
    match failed.into_iter().next() {
        Some(error) if site.opened.is_empty() => Err(error),
        _ => Ok(Operator::router(
            &site.opened,
            place,
            CancellationToken::new(),
        )),
    }
}
