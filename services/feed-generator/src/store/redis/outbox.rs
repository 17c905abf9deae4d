//! The outbox of a group in Redis: its dead letters and answers, until they are published. They are rare, so
//! none is handed over in memory: the sweep finds them within seconds.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blocks::error::BoxError;
use blocks::outbox::{
    Depth, InspectOutbox, LEASE_MS, Lease, Outbox, OutboxRow, Pending, Place, Published,
};
use chrono::{DateTime, Utc};
use events::{Headers, Message, header};
use parking_lot::Mutex;
use redis::{Pipeline, Script};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::args::Args;
use super::link::Link;

/// A message as it waits.
#[derive(Serialize, Deserialize)]
struct Waiting {
    topic: String,
    key: String,
    headers: Headers,
    /// In base64: a poison message need not be text.
    value: String,
    /// The value, if a script completed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    time: DateTime<Utc>,
    written: DateTime<Utc>,
}

impl Waiting {
    fn new(message: &Message, now: DateTime<Utc>) -> Self {
        Self {
            topic: message.topic.clone(),
            key: message.key.clone(),
            headers: message.headers.clone(),
            value: STANDARD.encode(&message.value),
            text: None,
            time: message.time,
            written: now,
        }
    }
}

/// Serializes a message for the outbox.
pub(super) fn text(message: &Message, now: DateTime<Utc>) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Waiting::new(message, now))
}

/// In a message, it stands for a number that only the script knows.
pub(super) const COUNTED: u64 = u64::MAX;

/// Serializes a message for the outbox: what comes before and after the number for [`COUNTED`].
pub(super) fn around(message: &Message, now: DateTime<Utc>) -> Result<[String; 2], BoxError> {
    let waiting = serde_json::to_string(&Waiting {
        value: String::new(),
        text: Some(String::from_utf8(message.value.clone())?),
        ..Waiting::new(message, now)
    })?;
    let (before, after) = waiting
        .split_once(&COUNTED.to_string())
        .ok_or("no number is left open")?;
    Ok([before, after].map(str::to_owned))
}

/// Parses a row: the message, and when it was written.
fn read(row: &str) -> Result<(Pending, DateTime<Utc>), BoxError> {
    let (id, text) = row.split_once(' ').ok_or("a message without a number")?;
    let waiting: Waiting = serde_json::from_str(text)?;
    let value = match waiting.text {
        Some(text) => text.into_bytes(),
        None => STANDARD.decode(&waiting.value)?,
    };
    let message = Message {
        topic: waiting.topic,
        key: waiting.key,
        headers: waiting.headers,
        value,
        time: waiting.time,
    };
    let place = Place::row(id.parse()?);
    Ok((Pending { place, message }, waiting.written))
}

/// A row as an operator sees it: `NUMBER MESSAGE`.
fn shown(row: &str, refused: Option<&str>) -> Result<(Place, OutboxRow), BoxError> {
    let (Pending { place, message }, written) = read(row)?;
    let header = |name: &str| {
        let found = message.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let row = OutboxRow {
        position: place.to_string(),
        status: if refused.is_some() {
            "refused"
        } else {
            "pending"
        }
        .to_owned(),
        event_type: header(header::TYPE),
        version: header(header::SEQUENCE).parse().unwrap_or_default(),
        topic: message.topic,
        key: message.key,
        created_at: written,
        published_at: None,
        error: refused.map(str::to_owned),
    };
    Ok((place, row))
}

/// Takes or renews the lease, by the server's clock.
const LEASE: &str = "
    local holder = redis.call('GET', ARGV[1])
    if holder and holder ~= ARGV[2] then
      return 0
    end
    redis.call('SET', ARGV[1], ARGV[2], 'PX', ARGV[3])
    if not holder then
      return redis.call('INCR', ARGV[1] .. ':epoch')
    end
    return tonumber(redis.call('GET', ARGV[1] .. ':epoch') or redis.call('INCR', ARGV[1] .. ':epoch'))
";

/// Messages that are read at a time.
const PAGE: usize = 500;

/// Sets a message aside that the bus will never take.
const REFUSE: &str = "
    local rows = redis.call('ZRANGEBYSCORE', ARGV[1], ARGV[2], ARGV[2])
    for _, row in ipairs(rows) do
      redis.call('ZADD', ARGV[1] .. ':refused', ARGV[2], ARGV[3] .. ' ' .. row)
      redis.call('ZREM', ARGV[1], row)
    end
    return #rows
";

/// Removes messages by their numbers.
const REMOVE: &str = "
    for at = 2, #ARGV do
      redis.call('ZREMRANGEBYSCORE', ARGV[1], ARGV[at], ARGV[at])
    end
    return 0
";

/// A group's messages to publish.
pub struct GroupOutbox {
    link: Arc<Link>,
    service: &'static str,
    key: String,
    lease: Script,
    refuse: Script,
    remove: Script,
    /// The relay's channel: nothing ever comes, but it must stay open.
    hand_over: Mutex<Option<mpsc::Receiver<Vec<Pending>>>>,
    _never: mpsc::Sender<Vec<Pending>>,
}

impl GroupOutbox {
    /// The outbox of the group whose keys begin with `prefix`.
    pub fn new(link: Arc<Link>, service: &'static str, prefix: &str) -> Self {
        let (never, hand_over) = mpsc::channel(1);
        Self {
            link,
            service,
            key: format!("{prefix}outbox"),
            lease: Script::new(LEASE),
            refuse: Script::new(REFUSE),
            remove: Script::new(REMOVE),
            hand_over: Mutex::new(Some(hand_over)),
            _never: never,
        }
    }

    fn refused_key(&self) -> String {
        format!("{}:refused", self.key)
    }

    /// Rows with numbers above `after`, oldest first.
    async fn rows(&self, after: i64, max: usize) -> Result<Vec<String>, BoxError> {
        let mut pipeline = Pipeline::new();
        let (above, max) = (format!("({after}"), isize::try_from(max)?);
        pipeline.zrangebyscore_limit(&self.key, above, "+inf", 0, max);
        let (rows,) = self.link.ask(&pipeline).await?;
        Ok(rows)
    }
}

#[async_trait]
impl Outbox for GroupOutbox {
    fn service(&self) -> &'static str {
        self.service
    }

    fn committed(&self) -> Option<mpsc::Receiver<Vec<Pending>>> {
        let mut hand_over = self.hand_over.lock();
        hand_over.take()
    }

    fn fell_behind(&self) -> bool {
        false
    }

    async fn pending(
        &self,
        before: Option<DateTime<Utc>>,
        after: Place,
        max: usize,
    ) -> Result<Vec<Pending>, BoxError> {
        let after = after.as_row().ok_or("not a place in this outbox")?;
        let mut pending = Vec::new();
        for row in self.rows(after, max).await? {
            let (message, written) = read(&row)?;
            if before.is_none_or(|before| written < before) {
                pending.push(message);
            }
        }
        Ok(pending)
    }

    async fn mark_published(&self, events: &[Published]) -> Result<(), BoxError> {
        let mut args = Args::default();
        args.push(self.key.as_str());
        for number in events.iter().filter_map(|event| event.place.as_row()) {
            args.number(number);
        }
        self.link.write(&self.remove, &args).await
    }

    async fn mark_refused(&self, place: Place, reason: &str) -> Result<(), BoxError> {
        let number = place.as_row().ok_or("not a place in this outbox")?;
        let mut args = Args::default();
        args.push(self.key.as_str()).number(number).push(reason);
        self.link.write(&self.refuse, &args).await
    }

    async fn depth(&self) -> Result<Depth, BoxError> {
        let mut pipeline = Pipeline::new();
        pipeline.zcard(&self.key);
        let (pending,) = self.link.ask(&pipeline).await?;
        let oldest = self.rows(0, 1).await?;
        let oldest = oldest.first().map(|row| read(row)).transpose()?;
        Ok(Depth {
            pending,
            oldest: oldest.map(|(_, written)| written),
        })
    }

    async fn keys_pending_before(&self, time: DateTime<Utc>) -> Result<i64, BoxError> {
        let mut keys = HashSet::new();
        let mut after = 0;
        loop {
            let rows = self.rows(after, PAGE).await?;
            for row in &rows {
                let (pending, written) = read(row)?;
                after = pending.place.as_row().unwrap_or(i64::MAX);
                if written < time {
                    keys.insert(pending.message.key);
                }
            }
            if rows.len() < PAGE {
                return Ok(i64::try_from(keys.len())?);
            }
        }
    }

    async fn lease(&self, holder: Uuid) -> Result<Option<Lease>, BoxError> {
        let mut args = Args::default();
        args.push(format!("{}:lease", self.key))
            .push(holder.to_string())
            .number(LEASE_MS);
        let epoch: i64 = self.link.write(&self.lease, &args).await?;
        Ok((epoch > 0).then_some(Lease { epoch }))
    }

    /// Nothing to do: published messages are removed at once.
    async fn remove_published(&self, _before: DateTime<Utc>) -> Result<u64, BoxError> {
        Ok(0)
    }
}

#[async_trait]
impl InspectOutbox for GroupOutbox {
    async fn latest(&self, max: usize) -> Result<Vec<OutboxRow>, BoxError> {
        let last = isize::try_from(max)? - 1;
        let mut pipeline = Pipeline::new();
        pipeline.zrevrange(&self.key, 0, last);
        pipeline.zrevrange_withscores(self.refused_key(), 0, last);
        let (pending, refused): (Vec<String>, Vec<(String, i64)>) =
            self.link.ask(&pipeline).await?;
        let mut rows = Vec::new();
        for row in pending {
            rows.push(shown(&row, None)?);
        }
        for (row, number) in refused {
            let begin = row.find(&format!(" {number} {{"));
            let (reason, row) = row.split_at(begin.ok_or("a refused message without a number")?);
            rows.push(shown(row.trim_start(), Some(reason))?);
        }
        rows.sort_by_key(|(place, _)| std::cmp::Reverse(*place));
        rows.truncate(max);
        Ok(rows.into_iter().map(|(_, row)| row).collect())
    }

    async fn refused(&self) -> Result<i64, BoxError> {
        let mut pipeline = Pipeline::new();
        pipeline.zcard(self.refused_key());
        let (refused,) = self.link.ask(&pipeline).await?;
        Ok(refused)
    }

    /// Nothing to do: none is published again.
    async fn republish(&self, _since: DateTime<Utc>) -> Result<u64, BoxError> {
        Ok(0)
    }
}
