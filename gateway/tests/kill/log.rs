//! What the topics say in the end, read with the command line beside the running server.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use serde_json::Value;

use crate::people::Writer;
use crate::server::rookery;
use crate::truth::everybody;

/// On each topic every key has its versions from 1 without a gap; whatever was published twice is
/// the same; every change of a post is there and no change that did not take place. Answers how
/// many events there are.
pub async fn every_key_is_complete_and_in_order(folder: &Path, writers: &[Writer]) -> usize {
    let posts: HashMap<&str, i64> = everybody(writers)
        .flat_map(|person| person.posts.values())
        .filter_map(|post| Some((post.id.as_deref()?, post.changes)))
        .collect();
    let published = versions(folder, "posts-events").await;
    for (key, versions) in &published {
        let changes = posts.get(key.as_str());
        let changes = *changes.unwrap_or_else(|| panic!("a ghost: {key}, {versions:?}"));
        assert!(
            versions.iter().copied().eq(1..=changes),
            "{key}: {versions:?}, not to {changes}"
        );
    }
    assert_eq!(published.len(), posts.len(), "posts without events");

    let mut events: usize = published.values().map(BTreeSet::len).sum();
    for topic in ["user.events", "profile.events"] {
        for (key, versions) in versions(folder, topic).await {
            let last = i64::try_from(versions.len()).unwrap();
            assert!(
                versions.iter().copied().eq(1..=last),
                "{topic}, {key}: {versions:?}"
            );
            events += versions.len();
        }
    }
    events
}

/// The versions on a topic by key.
async fn versions(folder: &Path, topic: &str) -> BTreeMap<String, BTreeSet<i64>> {
    let output = rookery(folder)
        .args(["events", "tail", topic, "--from-beginning", "--json"])
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut versions: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    let mut first: HashMap<(String, i64), Value> = HashMap::new();
    for line in output.stdout.split(|byte| *byte == b'\n') {
        if line.is_empty() {
            continue;
        }
        let mut record: Value = serde_json::from_slice(line).unwrap();
        let key = record["key"].as_str().unwrap().to_owned();
        let version = record["sequence"].as_i64().unwrap();
        let value = record["value"].take();
        let known = first
            .entry((key.clone(), version))
            .or_insert_with(|| value.clone());
        assert_eq!(*known, value, "{topic}: {key} has two versions {version}");
        versions.entry(key).or_default().insert(version);
    }
    versions
}
