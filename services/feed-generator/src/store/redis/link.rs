//! The way to the server: one connection for reads and one for writes, each made anew when it breaks,
//! with time-outs so short that nobody piles up behind a server that is away.

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

use super::way::Way;
use super::words::Words;
use crate::error::FeedError;

/// How long a read may take.
const READ: Duration = Duration::from_millis(500);
/// How long a write may take; the end of a rebuild moves every stream in one piece.
const WRITE: Duration = Duration::from_secs(15);
/// How long reads fail at once after one that was not answered.
const CLOSED: Duration = Duration::from_millis(200);
/// How long one read at a time is let through then, to see whether the server is back.
const PROBE: Duration = Duration::from_millis(600);

/// The way to a server.
pub struct Link {
    server: String,
    reads: Way,
    writes: Way,
    /// Until when reads fail at once.
    closed_until: Mutex<Option<Instant>>,
    faults: Mutex<Option<Arc<dyn Faults>>>,
}

/// Reads fail at once: the last one was not answered.
#[derive(Debug, thiserror::Error)]
#[error("Redis did not answer a moment ago")]
struct Closed;

/// An injected fault.
#[derive(Debug, thiserror::Error)]
#[error("injected fault")]
struct Injected;

impl Link {
    /// The way to the server that `url` names. It need not be there yet.
    ///
    /// # Errors
    /// When the URL is malformed.
    pub fn new(url: &str) -> Result<Self, BoxError> {
        let client = Client::open(url)?;
        // Without what is secret in the URL.
        let server = client.get_connection_info().addr().to_string();
        Ok(Self {
            server,
            reads: Way::new(&client, READ)?,
            writes: Way::new(&client, WRITE)?,
            closed_until: Mutex::default(),
            faults: Mutex::default(),
        })
    }

    /// Where the server is, for log lines.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// What a reader asks, answered soon or not at all.
    pub(super) async fn read<T: FromRedisValue>(
        &self,
        pipeline: &Pipeline,
    ) -> Result<T, FeedError> {
        self.admit()?;
        let mut connection = self.reads.connection();
        let answer = pipeline.query_async(&mut connection).await;
        self.judge(self.reads.heard(answer))
    }

    /// What a reader asks in a script.
    pub(super) async fn read_by<T: FromRedisValue>(
        &self,
        script: &Script,
        words: &Words,
    ) -> Result<T, FeedError> {
        self.admit()?;
        let mut connection = self.reads.connection();
        let answer = invoke(script, words, &mut connection).await;
        self.judge(self.reads.heard(answer))
    }

    /// What the consumer asks before it writes.
    pub(super) async fn ask<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, BoxError> {
        let mut connection = self.writes.connection();
        let answer = pipeline.query_async(&mut connection).await;
        Ok(self.writes.heard(answer)?)
    }

    /// A write.
    pub(super) async fn write<T: FromRedisValue>(
        &self,
        script: &Script,
        words: &Words,
    ) -> Result<T, BoxError> {
        let mut connection = self.writes.connection();
        let answer = invoke(script, words, &mut connection).await;
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
        let mut closed_until = self.closed_until.lock();
        if let Some(until) = *closed_until {
            let now = Instant::now();
            if now < until {
                return Err(FeedError::Unavailable(Closed.into()));
            }
            *closed_until = Some(now + PROBE);
        }
        Ok(())
    }

    fn judge<T>(&self, answer: RedisResult<T>) -> Result<T, FeedError> {
        let away = answer.as_ref().is_err_and(RedisError::is_io_error);
        let mut closed_until = self.closed_until.lock();
        match (away, &*closed_until) {
            (true, _) => *closed_until = Some(Instant::now() + CLOSED),
            (false, Some(_)) => *closed_until = None,
            (false, None) => {}
        }
        drop(closed_until);
        answer.map_err(FeedError::from)
    }
}

/// What `Script::invoke_async` does, without a copy of each argument: they are some megabytes.
async fn invoke<T: FromRedisValue>(
    script: &Script,
    words: &Words,
    connection: &mut redis::aio::ConnectionManager,
) -> RedisResult<T> {
    let words_size: usize = words.as_slice().iter().map(Vec::len).sum();
    let size = "EVALSHA".len() + script.get_hash().len() + "0".len() + words_size;
    let mut command = Cmd::with_capacity(3 + words.as_slice().len(), size);
    command.arg("EVALSHA").arg(script.get_hash()).arg(0);
    command.arg(words.as_slice());
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
        // A server that starts, saves or is full says so by a code; a mistake of ours by another.
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
