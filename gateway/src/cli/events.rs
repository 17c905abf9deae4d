//! `rookery events`.

use std::collections::BTreeMap;

use anyhow::Context;
use blocks::config::Config;
use http::Method;
use service::settings::encoded;

use super::args::{Operators as Wanted, Tail};
use super::client::{Endpoint, Operators};
use super::say;
use super::table::{Table, or_dash};
use runtime::operator::view::{RecordView, Reset, TopicView};

pub(super) async fn topics(operators: &Operators, json: bool) -> anyhow::Result<()> {
    let answers = operators.all().get("/topics").await;
    let topics = merged(&answers.given);
    if json {
        say(serde_json::to_string_pretty(&topics)?)?;
        return answers.complete();
    }
    let mut table = Table::new([
        "TOPIC",
        "PARTITIONS",
        "RECORDS",
        "KEEPS",
        "READERS (BEHIND BY)",
    ]);
    for topic in topics {
        let readers: Vec<String> = topic
            .groups
            .iter()
            .map(|group| match group.blocked {
                0 => format!("{} ({})", group.group, group.lag),
                keys => format!("{} ({}, {keys} blocked)", group.group, group.lag),
            })
            .collect();
        table.row([
            topic.name,
            topic.partitions.to_string(),
            topic.records.to_string(),
            topic.keeps,
            or_dash(Some(readers.join(", ")).filter(|text| !text.is_empty())),
        ]);
    }
    say(table)?;
    answers.complete()
}

/// Lets a group read its topics again, or says which those would be.
pub(super) async fn reset(
    operators: &Operators,
    group: &str,
    wanted: &Reset,
) -> anyhow::Result<()> {
    let path = format!("/groups/{}/reset", encoded(group));
    let endpoint = operators.of_group(group).await?;
    let topics: Vec<TopicView> = endpoint.post(&path, wanted).await?;
    let mut table = Table::new(["TOPIC", "RECORDS", "KEEPS"]);
    for topic in topics {
        table.row([topic.name, topic.records.to_string(), topic.keeps]);
    }
    say(table)?;
    say(if wanted.execute {
        format!("{group} reads them again, from the oldest.")
    } else {
        format!("{group} would read them again, from the oldest; --execute does it.")
    })
}

/// Everybody knows all topics, and their own groups.
fn merged(topics: &[TopicView]) -> Vec<TopicView> {
    let mut by_name: BTreeMap<&str, TopicView> = BTreeMap::new();
    for topic in topics {
        match by_name.get_mut(topic.name.as_str()) {
            Some(known) => known.groups.extend(topic.groups.iter().cloned()),
            None => drop(by_name.insert(&topic.name, topic.clone())),
        }
    }
    by_name.into_values().collect()
}

/// Prints the events of a topic.
pub(super) async fn tail(config: &Config, wanted: &Wanted, tail: Tail) -> anyhow::Result<()> {
    let interrupted = tokio::signal::ctrl_c();
    tokio::select! {
        done = follow(config, wanted, &tail) => done,
        signal = interrupted => signal.context("could not listen to Ctrl-C"),
    }
}

async fn follow(config: &Config, wanted: &Wanted, tail: &Tail) -> anyhow::Result<()> {
    let mut seen = Seen::default();
    loop {
        let operators = match Operators::reach(config, wanted).await {
            Err(error) if !seen.any => return Err(error),
            Err(_) => {
                Operators::wait_for(config, wanted).await;
                continue;
            }
            Ok(operators) => operators,
        };
        let was_running = operators.is_running();
        let read = match operators.any().await {
            Ok(endpoint) => seen.read(endpoint, was_running, tail).await,
            Err(error) => Err(error),
        };
        // Nobody writes while this process has the folder: it is given back for a server to start.
        operators.close().await;
        if !tail.follow || (!was_running && read.is_err()) {
            return read;
        }
        if let Err(error) = read {
            if !seen.any {
                return Err(error);
            }
            tracing::warn!(
                error = format!("{error:#}"),
                "waiting for the server to come back"
            );
        }
        seen.any = true;
        Operators::wait_for(config, wanted).await;
    }
}

/// Progress over several reads: whether anything was printed, and the next offset of each partition.
#[derive(Default)]
struct Seen {
    any: bool,
    next: BTreeMap<i32, i64>,
}

impl Seen {
    async fn read(
        &mut self,
        endpoint: &Endpoint,
        is_running: bool,
        tail: &Tail,
    ) -> anyhow::Result<()> {
        let mut lines = endpoint
            .lines(Method::GET, &self.path(is_running, tail))
            .await?;
        while let Some(record) = lines.next::<RecordView>().await? {
            self.any = true;
            self.next.insert(record.partition, record.offset + 1);
            if tail.json {
                say(serde_json::to_string(&record)?)?;
            } else {
                say(line(&record))?;
            }
        }
        Ok(())
    }

    fn path(&self, is_running: bool, tail: &Tail) -> String {
        let mut path = format!(
            "/topics/{}/records?follow={}&from_beginning={}",
            encoded(&tail.topic),
            tail.follow && is_running,
            tail.from_beginning
        );
        if !self.next.is_empty() {
            let pairs = self.next.iter().map(|(at, next)| format!("{at}:{next}"));
            let pairs: Vec<String> = pairs.collect();
            path.push_str("&after=");
            path.push_str(&encoded(&pairs.join(",")));
        } else if let Some(limit) = tail.limit {
            path.push_str("&limit=");
            path.push_str(&limit.to_string());
        }
        path
    }
}

/// Time, type, key, version and data.
fn line(record: &RecordView) -> String {
    let data = record.value.get("data").unwrap_or(&record.value);
    format!(
        "{}  {:<20} {:<36} #{:<4} {data}",
        record.time,
        or_dash(record.event_type.as_deref()),
        or_dash(record.key.as_deref()),
        or_dash(record.sequence),
    )
}
