//! The client of the server: one reconnecting connection for reads and one for writes. Time-outs are
//! short, so that callers don't pile up while the server is away.

use std::sync::Arc;
use std::time::Duration;

use blocks::error::BoxError;
use cache::redis::{Breaker, Connection, Server, is_mistake};
use parking_lot::Mutex;
use redis::{FromRedisValue, Pipeline, RedisError, RedisResult, Script};
use sql::{FaultPoint, Faults};

use super::args::Args;
use crate::error::FeedError;

/// Time limit of a read.
const READ: Duration = Duration::from_millis(500);
/// Time limit of a write: the end of a rebuild renames every stream in one script.
const WRITE: Duration = Duration::from_secs(15);

/// A server's reconnecting connections, and the circuit breaker before its reads.
pub struct Link {
    server: Server,
    reads: Connection,
    writes: Connection,
    breaker: Breaker,
    faults: Mutex<Option<Arc<dyn Faults>>>,
}

/// An injected fault.
#[derive(Debug, thiserror::Error)]
#[error("injected fault")]
struct Injected;

impl Link {
    /// Connects to the server of `url`, which need not be up yet.
    ///
    /// # Errors
    /// When the URL is malformed.
    pub fn new(url: &str) -> Result<Self, BoxError> {
        let server = Server::of(url)?;
        Ok(Self {
            reads: Connection::new(&server, READ)?,
            writes: Connection::new(&server, WRITE)?,
            server,
            breaker: Breaker::default(),
            faults: Mutex::default(),
        })
    }

    /// The server, for log lines.
    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    /// Sends a reader's commands; fails at once while the breaker is open.
    pub(super) async fn read<T: FromRedisValue>(
        &self,
        pipeline: &Pipeline,
    ) -> Result<T, FeedError> {
        self.guarded(self.reads.query(pipeline)).await
    }

    /// Runs a reader's script; fails at once while the breaker is open.
    pub(super) async fn read_by<T: FromRedisValue>(
        &self,
        script: &Script,
        args: &Args,
    ) -> Result<T, FeedError> {
        self.guarded(self.reads.call(script, &[], args.as_slice()))
            .await
    }

    /// Sends the consumer's queries, on the connection for writes.
    pub(super) async fn ask<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, BoxError> {
        Ok(self.writes.query(pipeline).await?)
    }

    /// Runs a script that writes.
    pub(super) async fn write<T: FromRedisValue>(
        &self,
        script: &Script,
        args: &Args,
    ) -> Result<T, BoxError> {
        Ok(self.writes.call(script, &[], args.as_slice()).await?)
    }

    /// Fails the writes that `faults` names: for tests.
    #[doc(hidden)]
    pub fn inject(&self, faults: Arc<dyn Faults>) {
        *self.faults.lock() = Some(faults);
    }

    /// Fails when a fault was injected for `point`.
    pub(super) fn fault(&self, point: FaultPoint) -> Result<(), BoxError> {
        match &*self.faults.lock() {
            Some(faults) if faults.fails(point) => Err(Injected.into()),
            _ => Ok(()),
        }
    }

    async fn guarded<T>(
        &self,
        asked: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, FeedError> {
        let answer = self.breaker.guard(asked).await;
        Ok(answer.map_err(|open| FeedError::Unavailable(open.into()))??)
    }
}

impl From<RedisError> for FeedError {
    fn from(error: RedisError) -> Self {
        if is_mistake(&error) {
            Self::Failed(error.into())
        } else {
            Self::Unavailable(error.into())
        }
    }
}
