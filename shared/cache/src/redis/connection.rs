//! A connection that reconnects after any failure.
//!
//! The client's own manager reconnects after network failures only, and to the same address. If the server refused
//! the password, or was no Redis, the manager repeats that answer for ever. So it is replaced then, and by a
//! connection to the new primary after a failover.

use std::io;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{
    Client, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, Script,
    ServerErrorKind,
};
use tokio::time::{Instant, timeout};

use super::server::Server;

/// Time limit for connecting.
const CONNECT: Duration = Duration::from_millis(500);
/// Shortest time between two connections after refusals, however many callers ask.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// A reconnecting connection to a server, which need not be up yet.
pub struct Connection {
    server: Server,
    patience: Duration,
    current: Mutex<Current>,
}

struct Current {
    way: Way,
    since: Instant,
}

/// The way to the server.
#[derive(Clone)]
enum Way {
    Known(ConnectionManager),
    /// Sentinels are asked; all callers wait for one answer.
    Sought(Shared<BoxFuture<'static, RedisResult<ConnectionManager>>>),
}

impl Connection {
    /// Connects to `server`; answers may take up to `patience`.
    ///
    /// # Errors
    /// When the client has no such connections.
    pub fn new(server: &Server, patience: Duration) -> RedisResult<Self> {
        let current = Current {
            way: way(server, patience)?,
            since: Instant::now(),
        };
        Ok(Self {
            server: server.clone(),
            patience,
            current: Mutex::new(current),
        })
    }

    /// Sends commands.
    ///
    /// # Errors
    /// What the server says, or that it does not.
    pub async fn query<T: FromRedisValue>(&self, pipeline: &Pipeline) -> RedisResult<T> {
        let mut manager = self.manager().await?;
        self.heard(pipeline.query_async(&mut manager).await)
    }

    /// Runs a script by its hash, and by its text where the server does not know it. Like
    /// `Script::invoke_async`, but copies no argument: together they may be some megabytes.
    ///
    /// # Errors
    /// What the server says, or that it does not.
    pub async fn call<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[String],
        args: &[impl AsRef<[u8]>],
    ) -> RedisResult<T> {
        let lengths = keys.iter().map(String::len);
        let lengths = lengths.chain(args.iter().map(|arg| arg.as_ref().len()));
        let size = "EVALSHA".len() + script.get_hash().len() + "0".len() + lengths.sum::<usize>();
        let mut command = Cmd::with_capacity(3 + keys.len() + args.len(), size);
        command.arg("EVALSHA").arg(script.get_hash());
        command.arg(keys.len()).arg(keys);
        for arg in args {
            command.arg(arg.as_ref());
        }
        let mut manager = self.manager().await?;
        let answer = match command.query_async(&mut manager).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                match script.prepare_invoke().load_async(&mut manager).await {
                    Ok(_) => command.query_async(&mut manager).await,
                    Err(error) => Err(error),
                }
            }
            answer => answer,
        };
        self.heard(answer)
    }

    /// Replaces the connection if this answer to a single command says that it is to the wrong server.
    pub fn note(&self, error: &RedisError) {
        if self.is_wrong(error) {
            self.replace();
        }
    }

    async fn manager(&self) -> RedisResult<ConnectionManager> {
        let way = self.current.lock().way.clone();
        let found = match way {
            Way::Known(manager) => return Ok(manager),
            Way::Sought(found) => timeout(CONNECT, found).await,
        };
        let found = found.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()));
        if found.is_err() {
            self.replace();
        }
        found
    }

    /// Passes an answer on; after a refusal that would stay, replaces the connection.
    fn heard<T>(&self, answer: RedisResult<T>) -> RedisResult<T> {
        if let Err(error) = &answer {
            self.note(error);
        }
        answer
    }

    /// True if another connection may lead further. Behind sentinels a server that does not answer may have given
    /// its place to another; the manager would find the old one again, as a replica that is read from unnoticed.
    fn is_wrong(&self, error: &RedisError) -> bool {
        let is_replica = error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly);
        let may_have_moved = matches!(self.server, Server::Behind(_)) && error.is_io_error();
        is_replica || may_have_moved || stays(error)
    }

    /// Begins a new connection, unless the last one began a moment ago or is still being looked for.
    fn replace(&self) {
        let mut current = self.current.lock();
        let is_pending = matches!(&current.way, Way::Sought(found) if found.peek().is_none());
        if is_pending || current.since.elapsed() < TRY_AGAIN {
            return;
        }
        match way(&self.server, self.patience) {
            Ok(way) => {
                *current = Current {
                    way,
                    since: Instant::now(),
                }
            }
            Err(error) => tracing::debug!(%error, "the connection to Redis stays as it is"),
        }
    }
}

/// True if the manager would repeat this error without asking the server.
fn stays(error: &RedisError) -> bool {
    error.is_unrecoverable_error() && !error.is_io_error()
}

fn way(server: &Server, patience: Duration) -> RedisResult<Way> {
    if let Server::At(client) = server {
        return Ok(Way::Known(manager(client, patience)?));
    }
    let server = server.clone();
    let found = async move { manager(&server.client().await?, patience) };
    Ok(Way::Sought(found.boxed().shared()))
}

fn manager(client: &Client, patience: Duration) -> RedisResult<ConnectionManager> {
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(Some(patience))
        .set_number_of_retries(0)
        .set_pipeline_buffer_size(1000);
    ConnectionManager::new_lazy_with_config(client.clone(), config)
}
