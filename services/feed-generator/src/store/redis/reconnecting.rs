//! A connection that reconnects after any failure.
//!
//! The client's own manager reconnects after network failures only. If the server refused the password,
//! or was no Redis, the manager repeats that answer for ever. So it is replaced then.

use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisError, RedisResult};
use tokio::time::Instant;

/// Time limit for connecting.
const CONNECT: Duration = Duration::from_millis(500);
/// Shortest time between two connections after refusals, however many callers ask.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// A reconnecting connection to a server, which need not be up yet.
pub(super) struct Reconnecting {
    client: Client,
    patience: Duration,
    current: Mutex<Current>,
}

struct Current {
    connection: ConnectionManager,
    since: Instant,
}

impl Reconnecting {
    /// Connects to the server of `client`; answers may take up to `patience`.
    pub(super) fn new(client: &Client, patience: Duration) -> RedisResult<Self> {
        let current = Current {
            connection: connection(client, patience)?,
            since: Instant::now(),
        };
        Ok(Self {
            client: client.clone(),
            patience,
            current: Mutex::new(current),
        })
    }

    /// The current connection.
    pub(super) fn connection(&self) -> ConnectionManager {
        self.current.lock().connection.clone()
    }

    /// Passes an answer on; after a refusal that would stay, replaces the connection.
    pub(super) fn heard<T>(&self, answer: RedisResult<T>) -> RedisResult<T> {
        if let Err(error) = &answer
            && stays(error)
        {
            let mut current = self.current.lock();
            if current.since.elapsed() >= TRY_AGAIN {
                *current = Current {
                    connection: connection(&self.client, self.patience)?,
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

fn connection(client: &Client, patience: Duration) -> RedisResult<ConnectionManager> {
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(Some(patience))
        .set_number_of_retries(0)
        .set_pipeline_buffer_size(1000);
    ConnectionManager::new_lazy_with_config(client.clone(), config)
}
