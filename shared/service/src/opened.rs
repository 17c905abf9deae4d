//! A service that is open, with what others need of it.

use std::sync::Arc;

use axum::Router;
use blocks::Service;
use blocks::error::BoxError;
use blocks::gateway::Authenticator;
use blocks::identity::KeySource;
use blocks::moving::Part;
use futures::future::BoxFuture;
use sql::Db;

/// The parts that move from a service's file into its store here.
pub type Moves = Box<dyn Fn(Db) -> BoxFuture<'static, anyhow::Result<Vec<Part>>> + Send + Sync>;

/// Whether work goes on that no lag shows.
pub type Unfinished = Box<dyn Fn() -> BoxFuture<'static, Result<bool, BoxError>> + Send + Sync>;

/// What tells whose a request is.
pub struct Identity {
    /// For a gateway in the same process.
    pub authenticator: Arc<dyn Authenticator>,
    /// The public keys, for checking identities in the same process.
    pub keys: Arc<dyn KeySource>,
}

/// A service that is open at a place.
pub struct Opened {
    /// Ready to be run.
    pub service: Service,
    /// What operators can ask of this service beyond what they can ask of all.
    pub operator: Router,
    /// Where it is the one that knows.
    pub identity: Option<Identity>,
    /// What moves here from a file.
    pub moves: Moves,
    /// Where it has such work.
    pub unfinished: Option<Unfinished>,
}

impl Opened {
    /// A service whose state is in the tables of `db`.
    pub fn over(db: &Db, service: Service) -> Self {
        let to = db.clone();
        Self::moving(service, move |from| {
            let to = to.clone();
            Box::pin(async move { Ok(sql::tables::parts(&from, &to).await?) })
        })
    }

    /// A service that has all it needs, and how a file moves to where its state is.
    pub fn moving(
        service: Service,
        moves: impl Fn(Db) -> BoxFuture<'static, anyhow::Result<Vec<Part>>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            service,
            operator: Router::new(),
            identity: None,
            moves: Box::new(moves),
            unfinished: None,
        }
    }
}
