//! What all clients of a process share: their configuration, and what they say went wrong.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use blocks::bus::BusError;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, ClientContext};

/// How a process talks to its brokers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `KAFKA_BOOTSTRAP_SERVERS`: `host:port`, several separated by commas.
    pub servers: String,
    /// The name of this replica, where it keeps one across restarts: its partitions then wait for it
    /// ten seconds instead of moving to the others and back. No two that run at once may share it.
    pub instance: Option<String>,
    /// How long a publish may take before the broker counts as away.
    pub patience: Duration,
    /// How long the others of a group wait for a member that still has records in hand: what it has
    /// after that its store refuses, once somebody else wrote.
    pub hold: Duration,
}

impl Settings {
    /// What is usual, for the brokers at `servers`.
    pub fn new(servers: impl Into<String>) -> Self {
        Self {
            servers: servers.into(),
            instance: None,
            patience: Duration::from_secs(10),
            hold: Duration::from_secs(30),
        }
    }

    /// What every client is told. `role` is how the broker's logs name it.
    pub(crate) fn client(&self, role: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.servers)
            .set("client.id", format!("rookery-{role}"))
            // A broker that comes back is noticed within a second.
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.keepalive.enable", "true")
            .set("socket.nagle.disable", "true")
            // A topic comes into being by being created, with its partitions, and not by a mention.
            .set("allow.auto.create.topics", "false")
            .set_log_level(RDKafkaLogLevel::Info);
        config
    }

    /// What a member of `group` is told.
    pub(crate) fn member(&self, group: &str) -> ClientConfig {
        let mut config = self.client(group);
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", "10000")
            // By them a client that knows no broker any more is told, see [`Rebalances`].
            .set("statistics.interval.ms", "2000")
            // Others wait for this member's next heartbeat whenever one joins or leaves.
            .set("heartbeat.interval.ms", "1000")
            .set("auto.offset.reset", "earliest")
            .set("queued.max.messages.kbytes", "8192")
            // A full queue is looked at again soon: by default that takes a second.
            .set("fetch.queue.backoff.ms", "20")
            .set("fetch.error.backoff.ms", "100");
        if let Some(instance) = &self.instance {
            config.set("group.instance.id", instance);
        }
        config
    }
}

/// Listens to a client: what it logs, and why it can't.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ear {
    last: Arc<Mutex<Option<String>>>,
}

impl Ear {
    /// The last thing that went wrong, in the library's words.
    pub(crate) fn last(&self) -> Option<String> {
        held(&self.last).clone()
    }
}

impl ClientContext for Ear {
    /// The library repeats itself every second while a broker is away; what matters is logged once,
    /// by whoever could not go on.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        tracing::debug!(target: "librdkafka", ?level, facility, "{text}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, "{reason}");
        // That all are down says less than why the last one is.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            *held(&self.last) = Some(reason.to_owned());
        }
    }
}

/// Why the brokers could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("could not {what} at {servers} (KAFKA_BOOTSTRAP_SERVERS){}", Hint(.hint))]
pub(crate) struct Away {
    what: String,
    servers: String,
    hint: Option<String>,
    #[source]
    source: KafkaError,
}

struct Hint<'a>(&'a Option<String>);

impl std::fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.as_ref().map_or(Ok(()), |hint| write!(f, ", {hint}"))
    }
}

/// `error` of an attempt to do `what`, for the caller.
pub(crate) fn away(
    what: impl Into<String>,
    servers: &str,
    ear: &Ear,
    source: KafkaError,
) -> BusError {
    BusError::Unavailable(Box::new(Away {
        what: what.into(),
        servers: servers.to_owned(),
        hint: ear.last(),
        source,
    }))
}

/// The lock, whatever became of who held it before: every change under it is complete in itself.
pub(crate) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
