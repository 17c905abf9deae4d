//! The adapters of a process that needs no server: a `SQLite` file a service and the topic log, all
//! in one folder.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use blocks::Clock;
use blocks::bus::EventBus;
use blocks::config::{Config, Durability as Wanted, Secret};
use blocks::error::BoxError;
use blocks::health;
use blocks::metrics::Metrics;
use blocks::outbox::ensure_drained;
use blocks::service::Check;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use service::{Close, Definition, Kept, Place, Role};
use sql::log::TopicLog;
use sql::{Db, Durability, Settings};

use crate::folder::DataDir;
use crate::process::{Stores, close, close_all};

/// A data folder with its open log and databases.
pub struct Embedded {
    config: Config,
    folder: DataDir,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    role: Role,
    log: TopicLog,
    databases: Mutex<Vec<Db>>,
    closes: Mutex<Vec<Close>>,
}

impl Embedded {
    /// Opens the log in `folder`, which belongs to this process.
    ///
    /// # Errors
    /// When the file can't be opened.
    pub async fn open(
        config: &Config,
        folder: DataDir,
        clock: Arc<dyn Clock>,
        role: Role,
    ) -> anyhow::Result<Self> {
        let path = file(&folder, "log", role)?;
        let settings = Settings {
            migrate: role == Role::Serves,
            ..Settings::new("log", Arc::clone(&clock))
        };
        let log = TopicLog::open_with(&path, durability(config), settings)
            .await
            .with_context(|| format!("could not open {}", path.display()))?;
        Ok(Self {
            config: config.clone(),
            folder,
            clock,
            metrics: Metrics::new(),
            role,
            log,
            databases: Mutex::default(),
            closes: Mutex::default(),
        })
    }

    /// The databases opened so far.
    pub fn databases(&self) -> Vec<Db> {
        self.databases.lock().clone()
    }

    /// The check of `/health/events`.
    pub fn check(&self) -> Arc<dyn Check> {
        Arc::new(LogCheck(self.log.clone()))
    }

    /// The data folder.
    pub fn folder(&self) -> &DataDir {
        &self.folder
    }
}

/// The file of `name`, made only by the process that serves it.
fn file(folder: &DataDir, name: &str, role: Role) -> anyhow::Result<PathBuf> {
    if role == Role::Serves {
        let made = folder.database(name);
        return made.with_context(|| format!("could not use {name}.db"));
    }
    Ok(folder.path().join(format!("{name}.db")))
}

fn durability(config: &Config) -> Durability {
    match config.sqlite_durability {
        Wanted::Full => Durability::Full,
        Wanted::Process => Durability::Process,
    }
}

#[async_trait]
impl Place for Embedded {
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
        Arc::new(self.log.clone())
    }

    fn is_embedded(&self) -> bool {
        true
    }

    fn role(&self) -> Role {
        self.role
    }

    async fn database(&self, of: &Definition) -> anyhow::Result<Db> {
        let durability = match of.kept {
            Kept::AsConfigured => durability(&self.config),
            Kept::Rebuildable => Durability::Process,
        };
        let settings = Settings {
            keep_inbox: self.config.kafka_enable_inbox,
            keep_outbox: self.config.kafka_enable_outbox,
            migrate: self.role == Role::Serves,
            ..Settings::new(of.name, Arc::clone(&self.clock))
        };
        let path = file(&self.folder, of.name, self.role)?;
        let db = Db::open_sqlite(&path, durability, settings, of.migrations)
            .await
            .with_context(|| format!("could not open {}", path.display()))?;
        if self.role == Role::Serves && !self.config.kafka_enable_outbox {
            let drained = ensure_drained(&db).await;
            drained.map_err(anyhow::Error::from_boxed)?;
        }
        self.closes(close(&db));
        self.databases.lock().push(db.clone());
        Ok(db)
    }

    fn kept_secret(&self) -> anyhow::Result<Option<Secret>> {
        if self.role != Role::Serves && !self.folder.path().join("secret.key").exists() {
            return Ok(None);
        }
        Ok(Some(Secret::new(self.folder.secret_key()?)))
    }

    /// There is no server to wait for: it opens, or it does not.
    async fn attempt(
        &self,
        _: &'static str,
        what: String,
        attempt: &(dyn Fn() -> BoxFuture<'static, Result<(), BoxError>> + Sync),
    ) -> anyhow::Result<()> {
        let opened = attempt().await.map_err(anyhow::Error::from_boxed);
        opened.with_context(|| format!("could not use {what}"))
    }

    fn closes(&self, close: Close) {
        self.closes.lock().push(close);
    }
}

#[async_trait]
impl Stores for Embedded {
    async fn clean_up(&self) -> anyhow::Result<u64> {
        Ok(self.log.clean_up(self.clock.now()).await?)
    }

    async fn close(&self) {
        close_all(&self.closes).await;
        self.log.close().await;
    }
}

/// Checks that the log answers.
struct LogCheck(TopicLog);

#[async_trait]
impl Check for LogCheck {
    fn name(&self) -> &'static str {
        health::EVENTS
    }

    async fn check(&self) -> Result<(), BoxError> {
        self.0.db().check().await
    }
}
