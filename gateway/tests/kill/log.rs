//! The topics, read with the command line beside the running server.

use std::path::Path;

use serde_json::Value;

use testkit::community::events::Event;

use crate::server::rookery;

/// Everything on a topic.
pub async fn events(folder: &Path, topic: &str) -> Vec<Event> {
    let output = rookery(folder)
        .args(["events", "tail", topic, "--from-beginning", "--json"])
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines = output.stdout.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let mut record: Value = serde_json::from_slice(line).unwrap();
            Event {
                key: record["key"].as_str().unwrap().to_owned(),
                version: record["sequence"].as_i64().unwrap(),
                value: record["value"].take(),
            }
        })
        .collect()
}
