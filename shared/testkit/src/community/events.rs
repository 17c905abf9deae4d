//! Compares the final events on the topics with the answers that clients got.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::Value;

use super::people::Writer;
use super::truth::everybody;

/// The topics that a community causes events on.
pub const TOPICS: [&str; 3] = ["posts-events", "user.events", "profile.events"];

/// An event as it lies on a topic.
#[derive(Debug, Clone)]
pub struct Event {
    /// The partition key.
    pub key: String,
    /// The version under the key.
    pub version: i64,
    /// The event's data.
    pub value: Value,
}

/// Numbers of events.
#[derive(Debug, Clone, Copy, Default)]
pub struct Arrived {
    /// Of those that the writers know.
    pub of_writers: usize,
    /// Of people that the writers do not know.
    pub of_others: usize,
}

/// Asserts that every key has its versions from 1 without a gap, and that repeated events are equal. Every
/// change of a post must be there, and no other.
pub fn every_key_is_complete(topics: &[(&str, Vec<Event>)], writers: &[Writer]) -> Arrived {
    let people: HashSet<i64> = everybody(writers).map(|person| person.id).collect();
    let posts: HashMap<&str, i64> = everybody(writers)
        .flat_map(|person| person.posts.values())
        .filter_map(|post| Some((post.id.as_deref()?, post.changes)))
        .collect();
    let mut arrived = Arrived::default();
    for (topic, events) in topics {
        let (own, of_others) = versions(topic, events, &people);
        arrived.of_others += of_others;
        for (key, versions) in &own {
            arrived.of_writers += versions.len();
            let last = match *topic {
                "posts-events" => {
                    let changes = posts.get(key.as_str());
                    *changes.unwrap_or_else(|| panic!("a ghost: {key}, {versions:?}"))
                }
                _ => i64::try_from(versions.len()).unwrap(),
            };
            assert!(
                versions.iter().copied().eq(1..=last),
                "{topic}, {key}: {versions:?}, not to {last}"
            );
        }
        match *topic {
            "posts-events" => assert_eq!(own.len(), posts.len(), "posts without events"),
            "user.events" => assert_eq!(own.len(), people.len(), "accounts without events"),
            _ => {}
        }
    }
    arrived
}

/// The versions of the events that `people` caused, by key, and the number that others caused.
fn versions(
    topic: &str,
    events: &[Event],
    people: &HashSet<i64>,
) -> (BTreeMap<String, BTreeSet<i64>>, usize) {
    let mut of_others = 0;
    let mut versions: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    let mut first: HashMap<(&str, i64), &Value> = HashMap::new();
    for event in events {
        let user = event.value["data"]["user_id"].as_i64();
        let user = user.unwrap_or_else(|| panic!("{topic}: nobody's event: {event:?}"));
        if !people.contains(&user) {
            of_others += 1;
            continue;
        }
        let (key, version) = (event.key.as_str(), event.version);
        let known = first.entry((key, version)).or_insert(&event.value);
        assert_eq!(
            **known, event.value,
            "{topic}: {key} has two versions {version}"
        );
        versions.entry(key.to_owned()).or_default().insert(version);
    }
    (versions, of_others)
}
