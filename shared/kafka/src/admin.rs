//! Creates topics, and lists their settings.

use std::collections::BTreeMap;
use std::time::Duration;

use blocks::bus::{BusError, TopicSpec};
use events::Cleanup;
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, OwnedResourceSpecifier, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::client::{Ear, Settings};
use crate::metadata::Metadata;

/// Time that the brokers may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// Pause between two checks of a new topic.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Age at which a segment is closed, in ms: a day. Only closed ones are cleaned up, so records may outlive
/// their time by that much.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// A broker's default, set so that another default does not refuse committed events.
const MAX_BATCH_BYTES: &str = "1048588";

/// Makes topics. It is used at the start and by operators, so its client is made for each use.
pub(crate) struct Admin {
    settings: Settings,
    metadata: Metadata,
    tasks: TaskTracker,
}

impl Admin {
    pub(crate) fn new(settings: &Settings, metadata: Metadata, tasks: TaskTracker) -> Self {
        Self {
            settings: settings.clone(),
            metadata,
            tasks,
        }
    }

    /// Creates those of `topics` that are missing. Existing ones keep their settings: an operator may have
    /// changed them.
    pub(crate) async fn ensure(&self, topics: &[TopicSpec]) -> Result<(), BusError> {
        let mut wanted: BTreeMap<&str, &TopicSpec> = BTreeMap::new();
        for spec in topics {
            if let Some(other) = wanted.insert(&spec.name, spec) {
                same_count(spec, other.partitions)?;
            }
        }
        let existing = self.metadata.topics().await?;
        let mut missing = Vec::new();
        let mut found = Vec::new();
        for spec in wanted.values() {
            match existing.get(&spec.name) {
                Some(seen) => {
                    same_count(spec, seen.partitions)?;
                    found.push(*spec);
                }
                None => missing.push(*spec),
            }
        }
        if !missing.is_empty() {
            self.create(&missing).await?;
        }
        for spec in wanted.values() {
            self.wait_for(spec).await?;
        }
        self.compare(&found).await
    }

    async fn create(&self, missing: &[&TopicSpec]) -> Result<(), BusError> {
        let settings: Vec<Vec<(&str, String)>> = missing
            .iter()
            .map(|spec| topic_settings(spec.cleanup))
            .collect();
        let new: Vec<NewTopic<'_>> = missing
            .iter()
            .zip(&settings)
            .map(|(spec, settings)| {
                // The brokers' default number of replicas.
                let replicas = TopicReplication::Fixed(-1);
                let new = NewTopic::new(&spec.name, spec.partitions.into(), replicas);
                settings
                    .iter()
                    .fold(new, |new, (name, value)| new.set(name, value))
            })
            .collect();
        let created = self
            .with_client("create topics", async |client, options| {
                client.create_topics(&new, options).await
            })
            .await?;
        for topic in created {
            match topic {
                // Somebody was faster.
                Ok(_) | Err((_, Code::TopicAlreadyExists)) => {}
                Err((topic, code)) => {
                    return Err(self
                        .unavailable(format!("create topic {topic}"), KafkaError::AdminOp(code)));
                }
            }
        }
        Ok(())
    }

    /// Waits until the brokers know a topic: the one that made it tells the others later.
    async fn wait_for(&self, spec: &TopicSpec) -> Result<(), BusError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.metadata.seen(&spec.name).await? {
                Some(seen) if seen.is_led => {
                    same_count(spec, seen.partitions)?;
                    self.metadata.learn(&spec.name, seen.partitions);
                    return Ok(());
                }
                _ if Instant::now() < deadline => tokio::time::sleep(LOOK_AGAIN).await,
                _ => {
                    let error = KafkaError::AdminOp(Code::LeaderNotAvailable);
                    return Err(self.unavailable(format!("use topic {}", spec.name), error));
                }
            }
        }
    }

    /// Logs topics whose retention differs from the intended one.
    async fn compare(&self, wanted: &[&TopicSpec]) -> Result<(), BusError> {
        let names: Vec<&str> = wanted.iter().map(|spec| spec.name.as_str()).collect();
        let cleanups = self.cleanups(&names).await?;
        for spec in wanted {
            match cleanups.get(&spec.name) {
                Some(found) if *found != spec.cleanup => tracing::warn!(
                    topic = spec.name, ?found, wanted = ?spec.cleanup,
                    "the topic was made with other settings, or they were changed: they stay"
                ),
                _ => {}
            }
        }
        Ok(())
    }

    /// All topics with their actual settings.
    pub(crate) async fn list(&self) -> Result<Vec<TopicSpec>, BusError> {
        let topics = self.metadata.topics().await?;
        let names: Vec<&str> = topics.keys().map(String::as_str).collect();
        let cleanups = self.cleanups(&names).await?;
        let specs = topics.into_iter().filter_map(|(name, seen)| {
            // One that was removed in between has none.
            let cleanup = *cleanups.get(&name)?;
            Some(TopicSpec {
                name,
                partitions: seen.partitions,
                cleanup,
            })
        });
        Ok(specs.collect())
    }

    async fn cleanups(&self, topics: &[&str]) -> Result<BTreeMap<String, Cleanup>, BusError> {
        if topics.is_empty() {
            return Ok(BTreeMap::new());
        }
        let wanted: Vec<_> = topics
            .iter()
            .map(|topic| ResourceSpecifier::Topic(topic))
            .collect();
        let described = self
            .with_client("read the settings of topics", async |client, options| {
                client.describe_configs(&wanted, options).await
            })
            .await?;
        let mut cleanups = BTreeMap::new();
        for resource in described {
            match resource {
                Ok(resource) => {
                    if let OwnedResourceSpecifier::Topic(topic) = &resource.specifier {
                        cleanups.insert(topic.clone(), cleanup(&resource));
                    }
                }
                Err(Code::UnknownTopicOrPartition) => {}
                Err(code) => {
                    let error = KafkaError::AdminOp(code);
                    return Err(self.unavailable("read the settings of a topic", error));
                }
            }
        }
        Ok(cleanups)
    }

    async fn with_client<T>(
        &self,
        what: &'static str,
        work: impl AsyncFnOnce(&AdminClient<Ear>, &AdminOptions) -> Result<T, KafkaError>,
    ) -> Result<T, BusError> {
        let ear = self.settings.ear();
        let client = self
            .settings
            .client("admin")
            .create_with_context(ear.clone())
            .map_err(|error| ear.unavailable(what, error))?;
        let options = AdminOptions::new()
            .request_timeout(Some(PATIENCE))
            .operation_timeout(Some(PATIENCE));
        let done = work(&client, &options).await;
        // Ending it waits for its thread.
        self.tasks.spawn_blocking(move || drop(client));
        done.map_err(|error| ear.unavailable(what, error))
    }

    fn unavailable(&self, what: impl Into<String>, error: KafkaError) -> BusError {
        self.settings.ear().unavailable(what, error)
    }
}

fn same_count(spec: &TopicSpec, found: u16) -> Result<(), BusError> {
    if spec.partitions == found {
        return Ok(());
    }
    Err(BusError::PartitionsChanged {
        topic: spec.name.clone(),
        found,
        wanted: spec.partitions,
    })
}

fn topic_settings(cleanup: Cleanup) -> Vec<(&'static str, String)> {
    let mut settings = vec![("max.message.bytes", MAX_BATCH_BYTES.to_owned())];
    match cleanup {
        Cleanup::Delete { after_ms } => settings.extend([
            ("cleanup.policy", "delete".to_owned()),
            ("retention.ms", after_ms.to_string()),
            ("segment.ms", DAY_MS.min(after_ms.max(1)).to_string()),
        ]),
        Cleanup::Compact { after_ms } => settings.extend([
            ("cleanup.policy", "compact".to_owned()),
            ("min.compaction.lag.ms", after_ms.to_string()),
            // Without it a topic with little traffic is never compacted.
            (
                "max.compaction.lag.ms",
                after_ms.saturating_add(DAY_MS).to_string(),
            ),
        ]),
    }
    settings
}

fn cleanup(resource: &ConfigResource) -> Cleanup {
    let value = |name: &str| resource.get(name).and_then(|entry| entry.value.as_deref());
    // A negative time is for ever.
    let after = |name: &str| {
        let ms = value(name).and_then(|value| value.parse::<i64>().ok());
        ms.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(u64::MAX)
    };
    if value("cleanup.policy").is_some_and(|policy| policy.contains("compact")) {
        Cleanup::Compact {
            after_ms: after("min.compaction.lag.ms"),
        }
    } else {
        Cleanup::Delete {
            after_ms: after("retention.ms"),
        }
    }
}
