//! The generations of a group's topics: each reset begins one, and voids what earlier ones wrote.

use std::collections::BTreeMap;

use blocks::bus::TopicPartition;
use blocks::consumer::Offsets;
use mongodb::bson::{Document, doc};
use serde::Deserialize;
use sql::StoreError;

use super::super::Mongo;
use super::super::document::all;
use super::super::error::failed;
use super::{MongoConsumer, OFFSETS};

/// A group's next offset in a partition; without one, the generation of a topic.
#[derive(Debug, Deserialize)]
struct OffsetDoc {
    topic: String,
    partition: Option<i32>,
    #[serde(default)]
    next: i64,
    #[serde(default)]
    generation: i64,
}

/// The generations of topics that were reset; 0 of others.
#[derive(Debug, Clone, Default)]
pub(super) struct Generations(BTreeMap<String, i64>);

/// A group's offsets, and the generations that they are of.
pub(super) struct Stored {
    pub offsets: Offsets,
    pub generations: Generations,
}

impl Generations {
    /// The generation of `topic`.
    pub fn of(&self, topic: &str) -> i64 {
        self.0.get(topic).copied().unwrap_or_default()
    }

    /// The beginning of ids of a group's documents about `topic`: no two generations share a document.
    pub fn scope(&self, group: &str, topic: &str) -> String {
        match self.of(topic) {
            0 => group.to_owned(),
            generation => format!("{group}#{generation}"),
        }
    }

    /// `wanted`, without documents of earlier generations.
    pub fn without_void(&self, mut wanted: Document) -> Document {
        if !self.0.is_empty() {
            wanted.insert("$nor", self.void());
        }
        wanted
    }

    /// Matches documents of earlier generations. Those of the first may name none.
    fn void(&self) -> Vec<Document> {
        let earlier = self.0.iter().map(|(topic, generation)| {
            doc! {"topic": topic, "generation": {"$not": {"$gte": *generation}}}
        });
        earlier.collect()
    }
}

/// The group's next offsets, where `wanted` holds, with the generations.
pub(super) async fn stored<H>(
    consumer: &MongoConsumer<H>,
    wanted: Document,
) -> Result<Stored, StoreError> {
    let mut of_group = doc! {"group": consumer.member.group};
    of_group.extend(wanted);
    let found = consumer.mongo.collection(OFFSETS).find(of_group).await;
    let found: Vec<OffsetDoc> = all(&consumer.mongo, OFFSETS, found).await?;
    let generations = found.iter().filter(|of| of.partition.is_none());
    let generations = generations.map(|of| (of.topic.clone(), of.generation));
    let generations = Generations(generations.collect());
    let current = found
        .into_iter()
        .filter(|of| of.generation == generations.of(&of.topic));
    let offsets = current.filter_map(|of| {
        let (topic, partition) = (of.topic, of.partition?);
        Some((TopicPartition { topic, partition }, of.next))
    });
    let offsets = offsets.collect();
    Ok(Stored {
        offsets,
        generations,
    })
}

/// The generations of all topics.
pub(super) async fn known<H>(consumer: &MongoConsumer<H>) -> Result<Generations, StoreError> {
    let wanted = doc! {"partition": null};
    Ok(stored(consumer, wanted).await?.generations)
}

/// Begins a generation of a topic.
pub(super) async fn begin(mongo: &Mongo, group: &str, topic: &str) -> Result<(), StoreError> {
    let this = doc! {"_id": format!("{group}/{topic}")};
    let next = doc! {
        "$inc": {"generation": 1_i64}, "$setOnInsert": {"group": group, "topic": topic},
    };
    let offsets = mongo.collection(OFFSETS);
    let begun = offsets.update_one(this, next).upsert(true).await;
    begun.map_err(failed)?;
    Ok(())
}

/// Removes the documents of earlier generations.
pub(super) async fn remove_void(
    mongo: &Mongo,
    group: &str,
    generations: &Generations,
) -> Result<(), StoreError> {
    let void = doc! {"group": group, "$or": generations.void()};
    for collection in [super::INBOX, super::KEYS, OFFSETS] {
        let removed = mongo.collection(collection).delete_many(void.clone()).await;
        removed.map_err(failed)?;
    }
    Ok(())
}
