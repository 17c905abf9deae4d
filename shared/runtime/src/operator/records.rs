//! The records of a topic, as a stream.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use axum::response::Response;
use blocks::Problem;
use blocks::bus::Record;
use blocks::extract::ValidQuery;
use blocks::ndjson;
use events::{header, timestamp};
use futures::TryStreamExt;
use serde::Deserialize;
use serde_json::Value;

use super::tail::{Start, Tail};
use super::view::RecordView;
use super::{Failed, Operator, unknown};

/// The records to answer with.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// Give the oldest first, not the latest only.
    #[serde(default)]
    from_beginning: bool,
    /// Go on when there are no more.
    #[serde(default)]
    follow: bool,
    /// The most records; with `follow` and without `from_beginning`, the number of existing ones.
    limit: Option<usize>,
    /// Go on from these offsets: `0:12,1:7`.
    after: Option<String>,
}

pub(super) async fn read(
    State(operator): State<Operator>,
    Path(topic): Path<String>,
    ValidQuery(which): ValidQuery<Which>,
) -> Result<Response, Failed> {
    let start = match &which.after {
        Some(text) => Start::At(positions(text)?),
        None if which.from_beginning => Start::Oldest,
        None => Start::Latest,
    };
    let topics = operator.bus.topics().await?;
    if topics.iter().all(|known| known.name != topic) {
        let mut names: Vec<&str> = topics.iter().map(|topic| &*topic.name).collect();
        names.sort_unstable();
        let what = format!("there is no topic {topic:?}");
        return Err(unknown("topic_not_found", &what, names));
    }
    let tail = Tail::open(&operator, topic, start, which.limit, which.follow).await?;
    let records = futures::stream::try_unfold(tail, |mut tail| async move {
        let batch = tail.next().await?;
        Ok::<_, anyhow::Error>(batch.map(|batch| (batch, tail)))
    });
    Ok(ndjson::answer(records.map_ok(|batch| {
        batch.into_iter().map(view).collect::<Vec<_>>()
    })))
}

fn positions(text: &str) -> Result<BTreeMap<i32, i64>, Problem> {
    let pairs = text.split(',').map(|pair| {
        let (partition, next) = pair.split_once(':')?;
        Some((partition.parse().ok()?, next.parse().ok()?))
    });
    pairs
        .collect::<Option<_>>()
        .ok_or_else(|| Problem::bad_request("validation_failed", "after must be as 0:12,1:7"))
}

/// A record for people and tools.
pub(super) fn view(record: Record) -> RecordView {
    let header = |name: &str| {
        let found = record.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone())
    };
    RecordView {
        event_type: header(header::TYPE),
        sequence: header(header::SEQUENCE).and_then(|text| text.parse().ok()),
        time: timestamp(record.time),
        value: serde_json::from_slice(&record.value)
            .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&record.value).into_owned())),
        topic: record.topic,
        partition: record.partition,
        offset: record.offset,
        key: record.key,
        headers: record.headers,
    }
}
