//! A service is a value; a process is a list of them.

use std::sync::Arc;

use async_trait::async_trait;
use events::Topic;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

use crate::consumer::Consumer;
use crate::error::BoxError;
use crate::outbox::InspectOutbox;

/// Who may pass the gateway on a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A valid token, or 401.
    Required,
    /// No token gives no identity; a bad one gives 401.
    Optional,
    /// Identity headers are removed and auth is not asked.
    Strip,
}

/// A route as the gateway sees it: the in-process table and Traefik's rules are made of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// `GET`, `POST`, …; a `GET` rule covers `HEAD`.
    pub methods: &'static [&'static str],
    /// As axum writes it, without a trailing slash: `/api/posts/{id}`.
    pub path: &'static str,
    /// Who may pass the gateway.
    pub mode: Mode,
}

impl Route {
    const fn new(mode: Mode, methods: &'static [&'static str], path: &'static str) -> Self {
        Self {
            methods,
            path,
            mode,
        }
    }

    /// A valid token, or 401.
    pub const fn required(methods: &'static [&'static str], path: &'static str) -> Self {
        Self::new(Mode::Required, methods, path)
    }

    /// Guests may pass; a bad token is a 401.
    pub const fn optional(methods: &'static [&'static str], path: &'static str) -> Self {
        Self::new(Mode::Optional, methods, path)
    }

    /// Everybody passes, and nobody is known.
    pub const fn strip(methods: &'static [&'static str], path: &'static str) -> Self {
        Self::new(Mode::Strip, methods, path)
    }
}

/// Something a service needs and can ask after.
#[async_trait]
pub trait Check: Send + Sync {
    /// The part that is checked: `database`, `events`.
    fn name(&self) -> &'static str;
    /// Succeeds if the part answers.
    ///
    /// # Errors
    /// The reason why it does not.
    async fn check(&self) -> Result<(), BoxError>;

    /// True if nothing can be served without it. A service whose events wait serves on: `/ready` says so,
    /// and stays 200.
    fn is_vital(&self) -> bool {
        true
    }
}

/// Work that goes on beside requests until the token is cancelled.
#[async_trait]
pub trait Background: Send + Sync {
    /// A name for log lines.
    fn name(&self) -> &'static str;
    /// Runs until `stop` is cancelled. An error ends the process.
    ///
    /// # Errors
    /// The reason why it can't go on.
    async fn run(&self, stop: CancellationToken) -> anyhow::Result<()>;
}

/// A service, ready to be run alone or beside others.
pub struct Service {
    /// Folder, schema, log target: the same word.
    pub name: &'static str,
    /// Its endpoints with their documentation. They find the [`crate::Caller`] in the request.
    pub router: OpenApiRouter,
    /// The gateway's rule for each of them.
    pub routes: &'static [Route],
    /// The topics it publishes to.
    pub topics: &'static [Topic],
    /// The event types it publishes.
    pub publishes: &'static [&'static str],
    /// The consumer groups that it runs.
    pub consumers: Vec<Consumer>,
    /// Its outbox, where it has one.
    pub outbox: Option<Arc<dyn InspectOutbox>>,
    /// Checks of the parts that it needs to serve.
    pub checks: Vec<Arc<dyn Check>>,
    /// Other work that it runs.
    pub background: Vec<Arc<dyn Background>>,
}
