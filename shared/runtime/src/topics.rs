//! The topics that a process needs, made before anything runs.

use std::collections::BTreeMap;

use anyhow::Context;
use blocks::Service;
use blocks::bus::{EventBus, TopicSpec};
use events::Topic;

/// What `services` publish and consume, and a dead-letter topic for each one consumed.
///
/// # Errors
/// When a consumer reads a topic that nobody knows.
pub fn of(services: &[Service]) -> anyhow::Result<Vec<TopicSpec>> {
    let mut specs: BTreeMap<String, TopicSpec> = BTreeMap::new();
    let mut add = |spec: TopicSpec| drop(specs.insert(spec.name.clone(), spec));
    for service in services {
        for topic in service.topics {
            add(topic.into());
        }
        for consumer in &service.consumers {
            for name in &consumer.topics {
                let topic = known(name).with_context(|| {
                    format!("{} reads {name}, which is no topic", consumer.group)
                })?;
                add(topic.into());
                add(TopicSpec::dead_letters_of(topic));
            }
        }
    }
    Ok(specs.into_values().collect())
}

/// Makes what is missing.
///
/// # Errors
/// When the bus can't, or a topic exists with another number of partitions.
pub async fn create(bus: &dyn EventBus, services: &[Service]) -> anyhow::Result<()> {
    bus.ensure_topics(&of(services)?)
        .await
        .context("could not create the topics")
}

fn known(name: &str) -> Option<&'static Topic> {
    events::topic::ALL.iter().find(|topic| topic.name == name)
}
