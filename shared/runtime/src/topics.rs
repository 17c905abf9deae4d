//! The topics that a process needs, made before anything runs.

use std::collections::BTreeMap;

use anyhow::Context;
use blocks::Service;
use blocks::backoff::{Backoff, Reminder};
use blocks::bus::{BusError, EventBus, TopicSpec};
use blocks::error::chain;

/// The topics that `services` publish and consume, and a dead-letter topic for each one consumed.
///
/// # Errors
/// When a consumer reads a topic that nobody knows.
pub fn of<'a>(services: impl IntoIterator<Item = &'a Service>) -> anyhow::Result<Vec<TopicSpec>> {
    let mut specs: BTreeMap<String, TopicSpec> = BTreeMap::new();
    let mut add = |spec: TopicSpec| drop(specs.insert(spec.name.clone(), spec));
    for service in services {
        for topic in service.topics {
            add(topic.into());
        }
        for consumer in &service.consumers {
            for name in &consumer.topics {
                let topic = events::topic_named(name).with_context(|| {
                    format!("{} reads {name}, which is no topic", consumer.group)
                })?;
                add(topic.into());
                add(TopicSpec::dead_letters_of(topic));
            }
        }
    }
    Ok(specs.into_values().collect())
}

/// Creates the missing topics.
///
/// # Errors
/// When the bus can't, or a topic exists with another number of partitions.
pub async fn create<'a>(
    bus: &dyn EventBus,
    services: impl IntoIterator<Item = &'a Service>,
) -> anyhow::Result<()> {
    bus.ensure_topics(&of(services)?)
        .await
        .context("could not create the topics")
}

/// The topics of a process, until they exist.
pub struct Topics {
    specs: Vec<TopicSpec>,
    are_made: bool,
    backoff: Backoff,
    reminder: Reminder,
}

impl Topics {
    /// The topics of `services`.
    ///
    /// # Errors
    /// When a consumer reads a topic that nobody knows.
    pub fn of<'a>(services: impl IntoIterator<Item = &'a Service>) -> anyhow::Result<Self> {
        Ok(Self {
            specs: of(services)?,
            are_made: false,
            backoff: Backoff::default(),
            reminder: Reminder::default(),
        })
    }

    /// Tries to create the missing ones. A bus that is away is no error: see [`Topics::wait_for`].
    ///
    /// # Errors
    /// When a topic exists with another number of partitions.
    pub async fn create(&mut self, bus: &dyn EventBus) -> anyhow::Result<()> {
        match bus.ensure_topics(&self.specs).await {
            Ok(()) => self.are_made = true,
            Err(error @ BusError::Unavailable(_)) => {
                let reason = chain(&error);
                if self.reminder.is_due(&reason) {
                    tracing::warn!(
                        error = reason,
                        "the event bus is away: requests are served, events wait"
                    );
                }
            }
            Err(error) => return Err(error).context("could not create the topics"),
        }
        Ok(())
    }

    /// Waits until all are created.
    ///
    /// # Errors
    /// See [`Topics::create`].
    pub async fn wait_for(&mut self, bus: &dyn EventBus) -> anyhow::Result<()> {
        while !self.are_made {
            let pause = self.backoff.pause();
            tokio::time::sleep(pause).await;
            self.create(bus).await?;
            if self.are_made {
                tracing::info!("the event bus is there");
            }
        }
        Ok(())
    }
}
