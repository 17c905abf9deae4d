//! Services that run alone, each a process of its own: over PostgreSQL and Kafka, behind a gateway
//! that asks auth.
//!
//! ```text
//! main ─ Alone::run ─ config ─ listen ─▶ waiting room: /health, /ready says what is missing
//!                        └─ open: PostgreSQL (waited for) ─▶ the service ─▶ Process
//! ```
//!
//! A binary is a [`Alone`] with a closure that opens the service:
//!
//! ```ignore
//! fn main() -> std::process::ExitCode {
//!     Alone::new(notification::NAME, "What users are told.", SETTINGS).run(async |fleet| {
//!         let db = fleet.database(notification::NAME, notification::MIGRATIONS).await?;
//!         Ok(notification::service(&Notifications::open(db)).into())
//!     })
//! }
//! ```
//!
//! A service over another store waits for it by [`Fleet::wait_for`] and has it closed by
//! [`Fleet::closes`].

mod alone;
mod front;
mod jwks;
mod room;
mod wait;

use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use blocks::Clock;
use blocks::bus::EventBus;
use blocks::config::{Config, Secret};
use blocks::error::{BoxError, chain};
use futures::future::BoxFuture;
use kafka::KafkaBus;
use parking_lot::Mutex;
use sql::{Db, Migration};

pub use ::kafka;
pub use alone::{Alone, Ready};
pub use jwks::RemoteKeys;
pub use wait::server_of;

use crate::process::Stores;
use wait::Waits;

/// Closes a store.
type Close = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

/// What a service that runs alone is opened over.
pub struct Fleet {
    config: Config,
    clock: Arc<dyn Clock>,
    bus: KafkaBus,
    waits: Waits,
    closes: Mutex<Vec<Close>>,
}

impl Fleet {
    fn new(config: Config, clock: Arc<dyn Clock>, waits: Waits) -> anyhow::Result<Self> {
        let servers = config.kafka_bootstrap_servers.clone();
        let servers = servers.context(
            "KAFKA_BOOTSTRAP_SERVERS is not set: it names the Kafka brokers, as 127.0.0.1:9092",
        )?;
        let settings = kafka::Settings {
            instance: config.kafka_group_instance_id.clone(),
            ..kafka::Settings::new(servers)
        };
        settings
            .check()
            .map_err(|why| anyhow::anyhow!("KAFKA_BOOTSTRAP_SERVERS {why}"))?;
        let bus = KafkaBus::new(settings)
            .map_err(|error| anyhow::anyhow!("{}", chain(&error)))
            .context("KAFKA_BOOTSTRAP_SERVERS can't be used")?;
        Ok(Self {
            config,
            clock,
            bus,
            waits,
            closes: Mutex::default(),
        })
    }

    /// What the process was told.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Time and ids.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The event bus.
    pub fn bus(&self) -> Arc<dyn EventBus> {
        Arc::new(self.bus.clone())
    }

    /// Where migrations and LISTEN go: past a pooler, where there is one.
    ///
    /// # Errors
    /// When neither `DATABASE_DIRECT_URL` nor `DATABASE_URL` is set.
    pub fn direct_database_url(&self) -> anyhow::Result<&Secret> {
        let direct = self.config.database_direct_url.as_ref();
        direct.map_or_else(|| self.database_url(), Ok)
    }

    fn database_url(&self) -> anyhow::Result<&Secret> {
        self.config.database_url.as_ref().context(
            "DATABASE_URL is not set: it names the PostgreSQL server, as \
             postgres://user:password@127.0.0.1:5432/rookery",
        )
    }

    /// Opens the schema of `service`, waiting for the server for as long as it takes.
    ///
    /// # Errors
    /// When `DATABASE_URL` is absent or can't be read.
    pub async fn database(
        &self,
        service: &'static str,
        migrations: &[Migration],
    ) -> anyhow::Result<Db> {
        let url = self.database_url()?.expose();
        let server = wait::server_of("DATABASE_URL", url)?;
        let direct = self.config.database_direct_url.as_ref();
        if let Some(direct) = direct {
            wait::server_of("DATABASE_DIRECT_URL", direct.expose())?;
        }
        let db = self
            .wait_for(
                "database",
                format!("PostgreSQL at {server} (DATABASE_URL)"),
                || async {
                    let settings = sql::Settings {
                        keep_inbox: self.config.kafka_enable_inbox,
                        direct_url: direct.map(|url| url.expose().to_owned()),
                        ..sql::Settings::new(service, Arc::clone(&self.clock))
                    };
                    Ok(Db::connect_postgres(url, service, settings, migrations).await?)
                },
            )
            .await;
        let closing = db.clone();
        self.closes(move || Box::pin(async move { closing.close().await }));
        Ok(db)
    }

    /// Tries `open` until it succeeds, says meanwhile at `/ready` that `part` is missing, and logs
    /// why. `what` names the server and its setting.
    pub async fn wait_for<T, F>(
        &self,
        part: &'static str,
        what: impl Into<String>,
        open: impl Fn() -> F,
    ) -> T
    where
        F: Future<Output = Result<T, BoxError>>,
    {
        self.waits.until(part, what.into(), open).await
    }

    /// Has `close` called when the process ends, after everything that uses the store.
    pub fn closes(&self, close: impl FnOnce() -> BoxFuture<'static, ()> + Send + 'static) {
        self.closes.lock().push(Box::new(close));
    }
}

#[async_trait]
impl Stores for Fleet {
    /// The brokers look after their topics themselves.
    async fn clean_up(&self) -> anyhow::Result<u64> {
        Ok(0)
    }

    async fn close(&self) {
        let closes = std::mem::take(&mut *self.closes.lock());
        for close in closes {
            close().await;
        }
        self.bus.close().await;
    }
}
