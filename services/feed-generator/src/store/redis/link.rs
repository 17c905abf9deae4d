//! The client of the server: one reconnecting connection for reads and one for writes. Time-outs are
//! short, so that callers don't pile up while the server is away.

use std::sync::Arc;
use std::time::Duration;

use blocks::error::BoxError;
use parking_lot::Mutex;
use redis::{
    Client, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, Script,
    ServerErrorKind,
};
use sql::{FaultPoint, Faults};
use tokio::time::Instant;

use super::args::Args;
use super::reconnecting::Reconnecting;
use crate::error::FeedError;

/// Time limit of a read.
const READ: Duration = Duration::from_millis(500);
/// Time limit of a write: the end of a rebuild renames every stream in one script.
const WRITE: Duration = Duration::from_secs(15);
/// The time for which the circuit breaker stays open after an unanswered read: reads fail at once.
const OPEN: Duration = Duration::from_millis(200);
/// The time that the half-open breaker waits for its one probe before it lets the next one through.
const PROBE: Duration = Duration::from_millis(600);

/// A server's reconnecting connections, and the circuit breaker before its reads.
pub struct Link {
    server: String,
    reads: Reconnecting,
    writes: Reconnecting,
    /// The circuit breaker: open (reads fail at once) until this time; `None` when it is closed.
    open_until: Mutex<Option<Instant>>,
    faults: Mutex<Option<Arc<dyn Faults>>>,
}

/// The circuit breaker is open: a read was not answered.
#[derive(Debug, thiserror::Error)]
#[error("Redis did not answer a moment ago")]
struct BreakerOpen;

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
        let client = Client::open(url)?;
        // Without the secrets of the URL.
        let server = client.get_connection_info().addr().to_string();
        Ok(Self {
            server,
            reads: Reconnecting::new(&client, READ)?,
            writes: Reconnecting::new(&client, WRITE)?,
            open_until: Mutex::default(),
            faults: Mutex::default(),
        })
    }

    /// The server's address, for log lines.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// Sends a reader's commands; fails at once while the breaker is open.
    pub(super) async fn read<T: FromRedisValue>(
        &self,
        pipeline: &Pipeline,
    ) -> Result<T, FeedError> {
        self.admit()?;
        let mut connection = self.reads.connection();
        let answer = pipeline.query_async(&mut connection).await;
        self.judge(self.reads.heard(answer))
    }

    /// Runs a reader's script; fails at once while the breaker is open.
    pub(super) async fn read_by<T: FromRedisValue>(
        &self,
        script: &Script,
        args: &Args,
    ) -> Result<T, FeedError> {
        self.admit()?;
        let mut connection = self.reads.connection();
        let answer = invoke(script, args, &mut connection).await;
        self.judge(self.reads.heard(answer))
    }

    /// Sends the consumer's queries, on the connection for writes.
    pub(super) async fn ask<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, BoxError> {
        let mut connection = self.writes.connection();
        let answer = pipeline.query_async(&mut connection).await;
        Ok(self.writes.heard(answer)?)
    }

    /// Runs a script that writes.
    pub(super) async fn write<T: FromRedisValue>(
        &self,
        script: &Script,
        args: &Args,
    ) -> Result<T, BoxError> {
        let mut connection = self.writes.connection();
        let answer = invoke(script, args, &mut connection).await;
        Ok(self.writes.heard(answer)?)
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

    fn admit(&self) -> Result<(), FeedError> {
        let mut open_until = self.open_until.lock();
        if let Some(until) = *open_until {
            let now = Instant::now();
            if now < until {
                return Err(FeedError::Unavailable(BreakerOpen.into()));
            }
            *open_until = Some(now + PROBE);
        }
        Ok(())
    }

    fn judge<T>(&self, answer: RedisResult<T>) -> Result<T, FeedError> {
        let away = answer.as_ref().is_err_and(RedisError::is_io_error);
        let mut open_until = self.open_until.lock();
        match (away, &*open_until) {
            (true, _) => *open_until = Some(Instant::now() + OPEN),
            (false, Some(_)) => *open_until = None,
            (false, None) => {}
        }
        drop(open_until);
        answer.map_err(FeedError::from)
    }
}

/// Runs a script like `Script::invoke_async`, but copies no argument: together they are some
/// megabytes.
async fn invoke<T: FromRedisValue>(
    script: &Script,
    args: &Args,
    connection: &mut redis::aio::ConnectionManager,
) -> RedisResult<T> {
    let args_size: usize = args.as_slice().iter().map(Vec::len).sum();
    let size = "EVALSHA".len() + script.get_hash().len() + "0".len() + args_size;
    let mut command = Cmd::with_capacity(3 + args.as_slice().len(), size);
    command.arg("EVALSHA").arg(script.get_hash()).arg(0);
    command.arg(args.as_slice());
    match command.query_async(connection).await {
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
            script.prepare_invoke().load_async(connection).await?;
            command.query_async(connection).await
        }
        answer => answer,
    }
}

impl From<RedisError> for FeedError {
    fn from(error: RedisError) -> Self {
        let mistaken = matches!(
            error.kind(),
            ErrorKind::UnexpectedReturnType | ErrorKind::Server(ServerErrorKind::ResponseError)
        );
        // These codes report the server's state (busy, can't save, full, password refused, too few
        // replicas), not a mistake of ours.
        let passing = matches!(
            error.code(),
            Some("BUSY" | "MISCONF" | "OOM" | "NOAUTH" | "WRONGPASS" | "NOREPLICAS")
        );
        if mistaken && !passing {
            Self::Failed(error.into())
        } else {
            Self::Unavailable(error.into())
        }
    }
}
