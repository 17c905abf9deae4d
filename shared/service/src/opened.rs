//! An open service, with the parts that others use.

use std::sync::Arc;

use axum::Router;
use blocks::Service;
use blocks::data_migration::Part;
use blocks::error::BoxError;
use blocks::gateway::Authenticator;
use blocks::identity::KeySource;
use futures::future::BoxFuture;
use sql::Db;

/// The parts of a data migration from a service's file into its store here.
pub type DataMigration =
    Box<dyn Fn(Db) -> BoxFuture<'static, anyhow::Result<Vec<Part>>> + Send + Sync>;

/// Tells whether work goes on that no lag shows.
pub type Unfinished = Box<dyn Fn() -> BoxFuture<'static, Result<bool, BoxError>> + Send + Sync>;

/// The means to identify the caller of a request.
pub struct Identity {
    /// For a gateway in the same process.
    pub authenticator: Arc<dyn Authenticator>,
    /// The public keys, for checking identities in the same process.
    pub keys: Arc<dyn KeySource>,
}

/// A service that is open at a place.
pub struct Opened {
    /// The service, ready to run.
    pub service: Service,
    /// Its own endpoints for operators, beyond those of all services.
    pub operator: Router,
    /// Present in the service that knows identities.
    pub identity: Option<Identity>,
    /// Present where it has such work.
    pub unfinished: Option<Unfinished>,
}

impl Opened {
    /// A service that has nothing beyond what all have.
    pub fn of(service: Service) -> Self {
        Self {
            service,
            operator: Router::new(),
            identity: None,
            unfinished: None,
        }
    }
}
