//! The place where a service is opened: among others in one process, alone in a fleet, or for an operator.

use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use blocks::Clock;
use blocks::bus::EventBus;
use blocks::config::{Config, Secret, Setting};
use blocks::error::BoxError;
use blocks::metrics::Metrics;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use sql::Db;

use crate::definition::Definition;

/// Closes a store.
pub type Close = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

/// The role of this process for a service whose stores it opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It runs the service, and brings the schema up to date.
    Serves,
    /// The service may run elsewhere: the schema is left as it is.
    Looks,
    /// As above, but the service is known to run nowhere: its next work is done here.
    StandsIn,
}

/// The adapters and settings for opening a service.
#[async_trait]
pub trait Place: Send + Sync {
    /// The process's configuration.
    fn config(&self) -> &Config;

    /// The clock for times and ids.
    fn clock(&self) -> &Arc<dyn Clock>;

    /// The metrics of this process.
    fn metrics(&self) -> &Arc<Metrics>;

    /// The event bus.
    fn bus(&self) -> Arc<dyn EventBus>;

    /// True if this process is the only one, and keeps all state in files.
    fn is_embedded(&self) -> bool;

    /// The role of this process for the service.
    fn role(&self) -> Role;

    /// Opens the service's SQL database: its file, or its schema.
    ///
    /// # Errors
    /// When it can't be opened, or a setting is absent or wrong.
    async fn database(&self, of: &Definition) -> anyhow::Result<Db>;

    /// A secret that this place keeps by itself; `None` where the configuration must have it.
    ///
    /// # Errors
    /// When it can't be read or made.
    fn kept_secret(&self) -> anyhow::Result<Option<Secret>>;

    /// Tries `attempt` until it succeeds, or as long as this place waits for a server. Meanwhile
    /// `/ready` says that `part` is missing. `what` names the server and its setting.
    ///
    /// # Errors
    /// The reason of the last failure, where this place gives up.
    async fn attempt(
        &self,
        part: &'static str,
        what: String,
        attempt: &(dyn Fn() -> BoxFuture<'static, Result<(), BoxError>> + Sync),
    ) -> anyhow::Result<()>;

    /// Has `close` called when the process ends, after everything that uses the store.
    fn closes(&self, close: Close);
}

impl dyn Place + '_ {
    /// The value of `setting`. `names` describes it in the error when it is absent.
    ///
    /// # Errors
    /// When it is absent.
    pub fn needs<T>(&self, setting: &Setting<Option<T>>) -> anyhow::Result<T> {
        let said = self.config().get(setting);
        said.with_context(|| format!("{} is not set: it names {}", setting.name, setting.about))
    }

    /// Opens a store by `open`, as [`Place::attempt`] tries it.
    ///
    /// # Errors
    /// The reason of the last failure, where this place gives up.
    pub async fn wait_for<T, F>(
        &self,
        part: &'static str,
        what: String,
        open: impl Fn() -> F + Sync,
    ) -> anyhow::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, BoxError>> + Send + 'static,
    {
        let opened = Arc::new(Mutex::new(None));
        let attempt = || -> BoxFuture<'static, Result<(), BoxError>> {
            let (opening, opened) = (open(), Arc::clone(&opened));
            Box::pin(async move {
                *opened.lock() = Some(opening.await?);
                Ok(())
            })
        };
        self.attempt(part, what, &attempt).await?;
        let opened = opened.lock().take();
        opened.context("a place said that it opened a store, and did not")
    }
}
