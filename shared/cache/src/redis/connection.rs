//! A connection that reconnects after any failure.
//!
//! The client's own manager reconnects after network failures only. If the server refused the password,
//! or was no Redis, the manager repeats that answer for ever. So it is replaced then.

use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{
    Client, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, Script,
    ServerErrorKind,
};
use tokio::time::Instant;

/// Time limit for connecting.
const CONNECT: Duration = Duration::from_millis(500);
/// Shortest time between two connections after refusals, however many callers ask.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// A reconnecting connection to a server, which need not be up yet.
pub struct Connection {
    client: Client,
    patience: Duration,
    current: Mutex<Current>,
}

struct Current {
    manager: ConnectionManager,
    since: Instant,
}

impl Connection {
    /// Connects to the server of `client`; answers may take up to `patience`.
    ///
    /// # Errors
    /// When the client has no such connections.
    pub fn new(client: &Client, patience: Duration) -> RedisResult<Self> {
        let current = Current {
            manager: manager(client, patience)?,
            since: Instant::now(),
        };
        Ok(Self {
            client: client.clone(),
            patience,
            current: Mutex::new(current),
        })
    }

    /// Sends commands.
    ///
    /// # Errors
    /// What the server says, or that it does not.
    pub async fn query<T: FromRedisValue>(&self, pipeline: &Pipeline) -> RedisResult<T> {
        let mut manager = self.manager();
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
        let mut manager = self.manager();
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

    fn manager(&self) -> ConnectionManager {
        self.current.lock().manager.clone()
    }

    /// Passes an answer on; after a refusal that would stay, replaces the connection.
    fn heard<T>(&self, answer: RedisResult<T>) -> RedisResult<T> {
        if let Err(error) = &answer
            && stays(error)
        {
            let mut current = self.current.lock();
            if current.since.elapsed() >= TRY_AGAIN {
                *current = Current {
                    manager: manager(&self.client, self.patience)?,
                    since: Instant::now(),
                };
            }
        }
        answer
    }
}

/// True if the manager would repeat this error without asking the server.
fn stays(error: &RedisError) -> bool {
    error.is_unrecoverable_error() && !error.is_io_error()
}

fn manager(client: &Client, patience: Duration) -> RedisResult<ConnectionManager> {
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(Some(patience))
        .set_number_of_retries(0)
        .set_pipeline_buffer_size(1000);
    ConnectionManager::new_lazy_with_config(client.clone(), config)
}
