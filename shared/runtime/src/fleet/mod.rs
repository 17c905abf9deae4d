//! Services that each run as a process of their own, over servers and Kafka, behind a gateway that asks
//! auth.
//!
//! ```text
//! main ─ standalone ─ config ─ listen ─▶ startup server: /health, /ready says what is missing
//!                  └─ open: servers (waited for) ─▶ the service ─▶ Process
//! ```

mod brokers;
mod jwks;
mod standalone;
mod startup;
mod wait;

use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use blocks::Clock;
use blocks::bus::EventBus;
use blocks::config::{AnySetting, Config, Secret};
use blocks::error::{BoxError, chain};
use blocks::health;
use blocks::metrics::Metrics;
use blocks::outbox::ensure_drained;
use futures::future::BoxFuture;
use kafka::KafkaBus;
use parking_lot::Mutex;
use service::settings::{DATABASE_DIRECT_URL, DATABASE_URL, KAFKA_BOOTSTRAP_SERVERS};
use service::{Close, Definition, Place, Role};
use sql::Db;

pub use ::kafka;
pub use jwks::RemoteKeys;
pub use standalone::standalone;
pub use wait::server_of;

use crate::process::{Stores, close, close_all};
use wait::Patience;

/// The servers of a fleet, for one service or for an operator.
pub struct Fleet {
    config: Config,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    role: Role,
    bus: KafkaBus,
    patience: Patience,
    closes: Mutex<Vec<Close>>,
}

impl Fleet {
    fn new(
        config: Config,
        clock: Arc<dyn Clock>,
        role: Role,
        patience: Patience,
    ) -> anyhow::Result<Self> {
        let bus = KafkaBus::new(brokers::settings(&config)?)
            .map_err(|error| anyhow::anyhow!("{}", chain(&error)))
            .context("KAFKA_BOOTSTRAP_SERVERS can't be used")?;
        Ok(Self {
            config,
            clock,
            metrics: Metrics::new(),
            role,
            bus,
            patience,
            closes: Mutex::default(),
        })
    }

    /// The servers of the fleet that `config` names, for an operator: no wait is long.
    ///
    /// # Errors
    /// When settings are absent or the broker does not answer; the message names them.
    pub async fn for_operator(
        config: &Config,
        clock: Arc<dyn Clock>,
        role: Role,
        services: &[&Definition],
    ) -> anyhow::Result<Self> {
        let stores = services.iter().map(|of| of.store.url() as &dyn AnySetting);
        let mut missing: Vec<String> = Vec::new();
        for setting in stores.chain([&KAFKA_BOOTSTRAP_SERVERS as &dyn AnySetting]) {
            let (name, about) = (setting.name(), setting.about());
            let line = format!("{name} is not set: it names {about}");
            if config.secret(setting).is_none() && !missing.contains(&line) {
                missing.push(line);
            }
        }
        anyhow::ensure!(missing.is_empty(), "{}", missing.join("; "));
        let fleet = Self::new(config.clone(), clock, role, Patience::Once)?;
        let bus = fleet.bus.clone();
        let answers = || {
            let bus = bus.clone();
            async move { Ok(bus.topics().await.map(drop)?) }
        };
        let what = "Kafka (KAFKA_BOOTSTRAP_SERVERS)".to_owned();
        let place: &dyn Place = &fleet;
        place.wait_for(health::EVENTS, what, answers).await?;
        Ok(fleet)
    }
}

#[async_trait]
impl Place for Fleet {
    fn config(&self) -> &Config {
        &self.config
    }

    fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    fn bus(&self) -> Arc<dyn EventBus> {
        Arc::new(self.bus.clone())
    }

    fn is_embedded(&self) -> bool {
        false
    }

    fn role(&self) -> Role {
        self.role
    }

    async fn database(&self, of: &Definition) -> anyhow::Result<Db> {
        let place: &dyn Place = self;
        let url = place.needs(&DATABASE_URL)?;
        let server = wait::server_of(DATABASE_URL.name, url.expose())?;
        let direct = self.config.get(&DATABASE_DIRECT_URL);
        if let Some(direct) = &direct {
            wait::server_of(DATABASE_DIRECT_URL.name, direct.expose())?;
        }
        let (service, migrations) = (of.name, of.migrations);
        let open = || {
            let url = url.clone();
            let settings = sql::Settings {
                keep_inbox: self.config.kafka_enable_inbox,
                keep_outbox: self.config.kafka_enable_outbox,
                migrate: self.role == Role::Serves,
                direct_url: direct.as_ref().map(|url| url.expose().to_owned()),
                ..sql::Settings::new(service, Arc::clone(&self.clock))
            };
            async move { Ok(Db::connect_postgres(url.expose(), service, settings, migrations).await?) }
        };
        let what = format!("PostgreSQL at {server} (DATABASE_URL)");
        let db = place.wait_for(health::DATABASE, what, open).await?;
        if self.role == Role::Serves && !self.config.kafka_enable_outbox {
            let drained = ensure_drained(&db).await;
            drained.map_err(anyhow::Error::from_boxed)?;
        }
        self.closes(close(&db));
        Ok(db)
    }

    /// All replicas need the same one, so it must be configured.
    fn kept_secret(&self) -> anyhow::Result<Option<Secret>> {
        Ok(None)
    }

    async fn attempt(
        &self,
        part: &'static str,
        what: String,
        attempt: &(dyn Fn() -> BoxFuture<'static, Result<(), BoxError>> + Sync),
    ) -> anyhow::Result<()> {
        self.patience.wait(part, what, attempt).await
    }

    fn closes(&self, close: Close) {
        self.closes.lock().push(close);
    }
}

#[async_trait]
impl Stores for Fleet {
    /// The brokers clean up their topics themselves.
    async fn clean_up(&self) -> anyhow::Result<u64> {
        Ok(0)
    }

    async fn close(&self) {
        close_all(&self.closes).await;
        self.bus.close().await;
    }
}
