//! An outbox in memory, of a process that publishes directly after each commit (`KAFKA_ENABLE_OUTBOX=false`).
//! An event that is committed and not published yet is lost when the process ends, by a crash or in order. So are
//! those of a commit whose answer was lost on the way ([`HandOver::answer_lost`]).

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use events::{Message, header};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{Depth, HandOver, InspectOutbox, Lease, Outbox, OutboxRow, Pending, Place, Published};
use crate::error::BoxError;

/// The events that are not published yet.
pub(super) type Waiting = Arc<Mutex<BTreeMap<Place, Pending>>>;

/// See the module.
pub struct Direct {
    service: &'static str,
    hand_over: HandOver,
    committed: Mutex<Option<mpsc::Receiver<Vec<Pending>>>>,
    waiting: Waiting,
}

impl Direct {
    /// The outbox of `service`, and the way into it for committed events.
    pub fn new(service: &'static str) -> (HandOver, Arc<Self>) {
        let waiting = Waiting::default();
        let (mut hand_over, committed) = HandOver::channel();
        hand_over.keep_in(service, Arc::clone(&waiting));
        let direct = Self {
            service,
            hand_over: hand_over.clone(),
            committed: Mutex::new(Some(committed)),
            waiting,
        };
        (hand_over, Arc::new(direct))
    }

    fn forget(&self, place: Place) -> Option<Pending> {
        self.waiting.lock().remove(&place)
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        let lost = self.waiting.lock().len();
        if lost > 0 {
            let service = self.service;
            tracing::error!(service, "{lost} events were not published, and are lost");
        }
    }
}

#[async_trait]
impl Outbox for Direct {
    fn service(&self) -> &'static str {
        self.service
    }

    fn committed(&self) -> Option<mpsc::Receiver<Vec<Pending>>> {
        self.committed.lock().take()
    }

    fn fell_behind(&self) -> bool {
        self.hand_over.fell_behind()
    }

    async fn pending(
        &self,
        before: Option<DateTime<Utc>>,
        after: Place,
        max: usize,
    ) -> Result<Vec<Pending>, BoxError> {
        let waiting = self.waiting.lock();
        let later = waiting.range((Bound::Excluded(after), Bound::Unbounded));
        let events = later.map(|(_, event)| event);
        let is_due = |event: &&Pending| before.is_none_or(|before| event.message.time < before);
        Ok(events.filter(is_due).take(max).cloned().collect())
    }

    fn ends_with_the_process(&self) -> bool {
        true
    }

    async fn mark_published(&self, events: &[Published]) -> Result<(), BoxError> {
        for event in events {
            self.forget(event.place);
        }
        Ok(())
    }

    async fn mark_refused(&self, place: Place, reason: &str) -> Result<(), BoxError> {
        if let Some(event) = self.forget(place) {
            let (topic, key) = (event.message.topic, event.message.key);
            tracing::error!(topic, key, reason, "an event was refused, and is lost");
        }
        Ok(())
    }

    async fn depth(&self) -> Result<Depth, BoxError> {
        let waiting = self.waiting.lock();
        Ok(Depth {
            pending: i64::try_from(waiting.len())?,
            oldest: waiting.values().map(|event| event.message.time).min(),
        })
    }

    async fn keys_pending_before(&self, time: DateTime<Utc>) -> Result<i64, BoxError> {
        let waiting = self.waiting.lock();
        let messages = waiting.values().map(|event| &event.message);
        let older = messages.filter(|message| message.time < time);
        let keys: HashSet<&str> = older.map(|message| &*message.key).collect();
        Ok(i64::try_from(keys.len())?)
    }

    /// Each process publishes its own events.
    async fn lease(&self, _: Uuid) -> Result<Option<Lease>, BoxError> {
        Ok(Some(Lease { epoch: 1 }))
    }

    async fn remove_published(&self, _: DateTime<Utc>) -> Result<u64, BoxError> {
        Ok(0)
    }
}

/// The value of a header; empty if there is none.
pub(super) fn header_of<'a>(message: &'a Message, wanted: &str) -> &'a str {
    let mut headers = message.headers.iter();
    let found = headers.find(|(name, _)| name == wanted);
    found.map_or("", |(_, value)| value)
}

#[async_trait]
impl InspectOutbox for Direct {
    async fn latest(&self, max: usize) -> Result<Vec<OutboxRow>, BoxError> {
        let waiting = self.waiting.lock();
        let row = |(place, event): (&Place, &Pending)| {
            let message = &event.message;
            let of = |wanted| header_of(message, wanted);
            OutboxRow {
                position: place.to_string(),
                status: "pending".to_owned(),
                event_type: of(header::TYPE).to_owned(),
                topic: message.topic.clone(),
                key: message.key.clone(),
                version: of(header::SEQUENCE).parse().unwrap_or_default(),
                created_at: message.time,
                published_at: None,
                error: None,
            }
        };
        Ok(waiting.iter().rev().take(max).map(row).collect())
    }

    async fn refused(&self) -> Result<i64, BoxError> {
        Ok(0)
    }

    /// Nothing is kept of what was published.
    async fn republish(&self, _: DateTime<Utc>) -> Result<u64, BoxError> {
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::MOST_IN_MEMORY;

    fn event(number: i64) -> Pending {
        let message = Message {
            topic: "t".to_owned(),
            key: format!("key {number}"),
            headers: Vec::new(),
            value: Vec::new(),
            time: DateTime::from_timestamp(number, 0).unwrap(),
        };
        let place = Place::row(number);
        Pending { place, message }
    }

    #[tokio::test]
    async fn memory_admits_so_many_events_and_no_more_until_some_are_published() {
        let (hand_over, outbox) = Direct::new("posts");
        let most = i64::try_from(MOST_IN_MEMORY).unwrap();
        hand_over.give((1..most).map(event).collect());
        assert!(!hand_over.is_full());
        hand_over.give(vec![event(most)]);
        assert!(hand_over.is_full());
        outbox
            .mark_published(&[Published::from(&event(1))])
            .await
            .unwrap();
        assert!(!hand_over.is_full());
    }

    #[tokio::test]
    async fn what_is_committed_waits_until_it_is_published_even_where_the_way_is_full() {
        let (hand_over, outbox) = Direct::new("posts");
        let many = 5000;
        for number in 1..=many {
            hand_over.give(vec![event(number)]);
        }
        assert!(outbox.fell_behind());
        assert_eq!(outbox.depth().await.unwrap().pending, many);
        let page = outbox.pending(None, Place::row(10), 2).await.unwrap();
        assert_eq!(page, [event(11), event(12)]);
        let before = DateTime::from_timestamp(3, 0);
        let old = outbox.pending(before, Place::START, 9).await.unwrap();
        assert_eq!(old, [event(1), event(2)]);
        assert_eq!(
            outbox.keys_pending_before(before.unwrap()).await.unwrap(),
            2
        );

        outbox
            .mark_published(&[Published::from(&event(1))])
            .await
            .unwrap();
        outbox
            .mark_refused(Place::row(2), "too large")
            .await
            .unwrap();
        let rest = outbox.pending(None, Place::START, 1).await.unwrap();
        assert_eq!(rest, [event(3)]);
        assert_eq!(
            outbox.latest(1).await.unwrap()[0].key,
            format!("key {many}")
        );
    }
}
