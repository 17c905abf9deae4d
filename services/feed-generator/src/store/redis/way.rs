//! A connection that is made anew whatever ended it.
//!
//! The client's own manager does so after a failure of the network only. Once a server did not take the
//! password, or what listened was no Redis, it would give that answer for ever; so then it is replaced.

use std::time::Duration;

use parking_lot::Mutex;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, RedisError, RedisResult};
use tokio::time::Instant;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_millis(500);
/// How often another one is tried after a refusal, however many ask.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// A connection to a server, which need not be there yet.
pub(super) struct Way {
    client: Client,
    patience: Duration,
    current: Mutex<Current>,
}

struct Current {
    connection: ConnectionManager,
    since: Instant,
}

impl Way {
    /// To the server of `client`, whose answers may take as long as `patience`.
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

    /// The connection as it is now.
    pub(super) fn connection(&self) -> ConnectionManager {
        self.current.lock().connection.clone()
    }

    /// Passes an answer on, and sees to it that a refusal does not stay.
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

/// Whether the manager would give this answer again without asking.
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
