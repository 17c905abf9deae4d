//! Common parts of all clients of a process: their configuration and their errors.

use std::sync::Arc;
use std::time::Duration;

use blocks::bus::BusError;
use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, ClientContext};

use crate::security::Security;

/// The settings by which a process reaches its brokers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `KAFKA_BOOTSTRAP_SERVERS`: `host:port`, several separated by commas.
    pub servers: String,
    /// A replica's name that it keeps across restarts, if any: its partitions then wait ten seconds for it,
    /// instead of moving to the others and back. No two running replicas may share it.
    pub instance: Option<String>,
    /// Stands before the name of every group, with a dash behind it: for brokers that several sites share.
    pub group_prefix: Option<String>,
    /// How brokers and this process prove who they are.
    pub security: Security,
    /// Time that a publish may take before the broker counts as away.
    pub patience: Duration,
    /// Time that a group waits for a member that still has records in hand. After that its store refuses
    /// them, once another member wrote.
    pub hold: Duration,
}

impl Settings {
    /// The usual settings, for the brokers at `servers`.
    pub fn new(servers: impl Into<String>) -> Self {
        Self {
            servers: servers.into(),
            instance: None,
            group_prefix: None,
            security: Security::default(),
            patience: Duration::from_secs(10),
            hold: Duration::from_secs(30),
        }
    }

    /// Checks that `servers` can name brokers, without connecting.
    ///
    /// # Errors
    /// The fault in it, without quoting it: a URL given by mistake may contain a password.
    pub fn check(&self) -> Result<(), &'static str> {
        let is_broker = |broker: &str| {
            let (host, port) = match broker.rsplit_once(':') {
                // An IPv6 address stands in brackets.
                Some((host, port)) if !port.ends_with(']') => (host, port),
                _ => (broker, "9092"),
            };
            let is_host = !host.is_empty() && !host.contains(['/', '@', ' ']);
            is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
        };
        if self.servers.split(',').map(str::trim).all(is_broker) {
            Ok(())
        } else {
            Err("names no brokers: expected host:port, several with commas between")
        }
    }

    /// The name that `group` has at the brokers.
    pub(crate) fn group(&self, group: &str) -> String {
        let prefix = self.group_prefix.as_ref();
        prefix.map_or_else(|| group.to_owned(), |prefix| format!("{prefix}-{group}"))
    }

    /// Hears what one client reports.
    pub(crate) fn ear(&self) -> Ear {
        Ear {
            servers: self.servers.clone(),
            last: Arc::default(),
        }
    }

    /// The configuration of every client. `role` is its name in the broker's logs.
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
            // Topics are created on purpose, with their partitions, and not by a mention.
            .set("allow.auto.create.topics", "false")
            .set_log_level(RDKafkaLogLevel::Info);
        self.security.apply(&mut config);
        config
    }

    /// The configuration of a member of `group`.
    pub(crate) fn member(&self, group: &str) -> ClientConfig {
        let mut config = self.client(group);
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", "10000")
            // Statistics reveal a client that knows no broker any more, see [`Rebalances`].
            .set("statistics.interval.ms", "2000")
            // Others wait for this member's next heartbeat whenever one joins or leaves.
            .set("heartbeat.interval.ms", "1000")
            .set("auto.offset.reset", "earliest")
            .set("queued.max.messages.kbytes", "8192")
            // A full queue is retried soon: by default that takes a second.
            .set("fetch.queue.backoff.ms", "20")
            .set("fetch.error.backoff.ms", "100");
        if let Some(instance) = &self.instance {
            config.set("group.instance.id", instance);
        }
        config
    }
}

/// Collects what a client logs, and its last error, in the library's words.
#[derive(Debug, Clone)]
pub(crate) struct Ear {
    servers: String,
    last: Arc<Mutex<Option<String>>>,
}

impl Ear {
    /// `source` of an attempt to do `what`, for the caller.
    pub(crate) fn unavailable(&self, what: impl Into<String>, source: KafkaError) -> BusError {
        let hint = self.last.lock().as_ref().map(|last| format!(", {last}"));
        BusError::Unavailable(Box::new(Away {
            what: what.into(),
            servers: self.servers.clone(),
            hint: hint.unwrap_or_default(),
            source,
        }))
    }
}

impl ConsumerContext for Ear {}

impl ClientContext for Ear {
    /// The library repeats itself every second while a broker is away. The code that could not go on logs
    /// it once.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        tracing::debug!(target: "librdkafka", ?level, facility, "{text}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, "{reason}");
        // "All brokers down" says less than the error of the last one.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            // Without the time and the count, which differ at each attempt.
            let reason = reason.split(" (after ").next().unwrap_or(reason);
            *self.last.lock() = Some(reason.to_owned());
        }
    }
}

/// The reason why the brokers could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("could not {what} at {servers} (KAFKA_BOOTSTRAP_SERVERS){hint}")]
struct Away {
    what: String,
    servers: String,
    hint: String,
    #[source]
    source: KafkaError,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_no_brokers_is_found_out_before_anybody_is_asked() {
        for good in ["kafka", "kafka:9092", "a:1, b:2", "[::1]:9092", "[::1]"] {
            assert_eq!(Settings::new(good).check(), Ok(()), "{good}");
        }
        for bad in [
            "",
            ",",
            "a:1,",
            "kafka:port",
            "kafka:0",
            ":9092",
            "http://ada:hidden@kafka:9092",
            "PLAINTEXT://kafka:9092",
        ] {
            let said = Settings::new(bad).check().unwrap_err();
            assert!(said.contains("host:port"), "{bad}: {said}");
        }
    }

    #[test]
    fn a_member_takes_part_in_its_group_as_the_design_wants_it() {
        let mut settings = Settings::new("kafka-1:9092,kafka-2:9092");
        let told = settings.member("ledger");
        for (name, value) in [
            ("bootstrap.servers", "kafka-1:9092,kafka-2:9092"),
            ("group.id", "ledger"),
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("session.timeout.ms", "10000"),
            ("queued.max.messages.kbytes", "8192"),
            // The group's own store has its offsets: the committed one is never read.
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            // For an offset before the oldest record that is left.
            ("auto.offset.reset", "earliest"),
            ("allow.auto.create.topics", "false"),
        ] {
            assert_eq!(told.get(name), Some(value), "{name}");
        }
        assert_eq!(told.get("group.instance.id"), None);
        settings.instance = Some("ledger-1".to_owned());
        let told = settings.member("ledger");
        assert_eq!(told.get("group.instance.id"), Some("ledger-1"));
    }
}
