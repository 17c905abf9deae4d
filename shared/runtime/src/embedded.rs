//! The adapters of a process that needs no server: a `SQLite` file a service and the topic log, all
//! in one folder.

use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use blocks::Clock;
use blocks::bus::EventBus;
use blocks::config::{Config, Durability as Wanted};
use blocks::error::BoxError;
use blocks::health;
use blocks::service::Check;
use parking_lot::Mutex;
use sql::log::TopicLog;
use sql::{Db, Durability, Migration, Settings};

use crate::folder::DataDir;
use crate::process::Stores;

/// What a service's file must survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is the truth: what `SQLITE_DURABILITY` says.
    AsConfigured,
    /// It is made of the log again where it lost something.
    Rebuildable,
}

/// A data folder with what is open in it.
pub struct Embedded {
    folder: DataDir,
    clock: Arc<dyn Clock>,
    durability: Durability,
    keep_inbox: bool,
    log: TopicLog,
    databases: Mutex<Vec<Db>>,
}

impl Embedded {
    /// Opens the log in `folder`, which is this process' own.
    ///
    /// # Errors
    /// When the file can't be opened.
    pub async fn open(
        config: &Config,
        folder: DataDir,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let durability = match config.sqlite_durability {
            Wanted::Full => Durability::Full,
            Wanted::Process => Durability::Process,
        };
        let path = folder.database("log").context("could not use log.db")?;
        let log = TopicLog::open(&path, durability, Arc::clone(&clock))
            .await
            .with_context(|| format!("could not open {}", path.display()))?;
        Ok(Self {
            folder,
            clock,
            durability,
            keep_inbox: config.kafka_enable_inbox,
            log,
            databases: Mutex::default(),
        })
    }

    /// Opens the file of `service`.
    ///
    /// # Errors
    /// When it can't be opened or brought up to date.
    pub async fn database(
        &self,
        service: &'static str,
        kept: Kept,
        migrations: &[Migration],
    ) -> anyhow::Result<Db> {
        let durability = match kept {
            Kept::AsConfigured => self.durability,
            Kept::Rebuildable => Durability::Process,
        };
        let settings = Settings {
            keep_inbox: self.keep_inbox,
            ..Settings::new(service, Arc::clone(&self.clock))
        };
        let path = self
            .folder
            .database(service)
            .with_context(|| format!("could not use {service}.db"))?;
        let db = Db::open_sqlite(&path, durability, settings, migrations)
            .await
            .with_context(|| format!("could not open {}", path.display()))?;
        self.databases.lock().push(db.clone());
        Ok(db)
    }

    /// The databases opened so far.
    pub fn databases(&self) -> Vec<Db> {
        self.databases.lock().clone()
    }

    /// The event bus.
    pub fn bus(&self) -> Arc<dyn EventBus> {
        Arc::new(self.log.clone())
    }

    /// What `/health/events` asks.
    pub fn checks(&self) -> Vec<Arc<dyn Check>> {
        vec![Arc::new(LogCheck(self.log.clone()))]
    }

    /// The topic log below the bus.
    pub fn log(&self) -> &TopicLog {
        &self.log
    }

    /// The folder.
    pub fn folder(&self) -> &DataDir {
        &self.folder
    }

    /// Time and ids.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }
}

#[async_trait]
impl Stores for Embedded {
    async fn clean_up(&self) -> anyhow::Result<u64> {
        Ok(self.log.clean_up(self.clock.now()).await?)
    }

    async fn close(&self) {
        for db in self.databases() {
            db.close().await;
        }
        self.log.close().await;
    }
}

/// Whether the log answers.
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
