//! The relay over a store that keeps events in documents, as one that speaks MongoDB's protocol does.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use blocks::SystemClock;
use blocks::error::BoxError;
use blocks::metrics::Metrics;
use blocks::outbox::{Depth, Lease, Outbox, Pending, Place, Published};
use blocks::relay::Relay;
use chrono::{DateTime, Utc};
use events::{Message, header};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::ledger::STEPS;
use crate::relay::{Bus, until};

/// Events by key: only the first one of a key can be marked, and a page ends where it is full, so the
/// others may be seen no sooner. Nothing is swept: events that a catch-up leaves stay.
struct Documents {
    pending: Mutex<BTreeMap<String, VecDeque<Pending>>>,
    /// Number of markings that fail before one works.
    failures: Mutex<u32>,
    committed: Mutex<Option<mpsc::Receiver<Vec<Pending>>>>,
    /// Kept, so that the relay goes on.
    _hand_over: mpsc::Sender<Vec<Pending>>,
}

impl Documents {
    fn of(keys: usize, each: usize, failures: u32) -> Arc<Self> {
        let mut pending: BTreeMap<String, VecDeque<Pending>> = BTreeMap::new();
        for (place, number) in (1..).zip(0..keys * each) {
            let (key, version) = ((number % keys).to_string(), number / keys + 1);
            let event = Pending {
                place: Place::row(place),
                message: Message {
                    topic: STEPS.name.to_owned(),
                    key: key.clone(),
                    headers: vec![(header::SEQUENCE.to_owned(), version.to_string())],
                    value: Vec::new(),
                    time: DateTime::UNIX_EPOCH,
                },
            };
            pending.entry(key).or_default().push_back(event);
        }
        let (hand_over, committed) = mpsc::channel(1);
        Arc::new(Self {
            pending: Mutex::new(pending),
            failures: Mutex::new(failures),
            committed: Mutex::new(Some(committed)),
            _hand_over: hand_over,
        })
    }
}

#[async_trait]
impl Outbox for Documents {
    fn service(&self) -> &'static str {
        "documents"
    }
    fn committed(&self) -> Option<mpsc::Receiver<Vec<Pending>>> {
        self.committed.lock().take()
    }
    fn fell_behind(&self) -> bool {
        false
    }
    fn hides_some(&self) -> bool {
        true
    }
    async fn pending(
        &self,
        _: Option<DateTime<Utc>>,
        after: Place,
        max: usize,
    ) -> Result<Vec<Pending>, BoxError> {
        let pending = self.pending.lock();
        let documents = pending.values();
        let shown = documents.filter(|events| events.front().is_some_and(|e| e.place > after));
        let mut shown: Vec<Pending> = shown.flatten().cloned().collect();
        shown.sort_by_key(|event| event.place);
        shown.truncate(max);
        Ok(shown)
    }
    async fn mark_published(&self, events: &[Published]) -> Result<(), BoxError> {
        let mut failures = self.failures.lock();
        if *failures > 0 {
            *failures -= 1;
            return Err("the store is away".into());
        }
        let mut pending = self.pending.lock();
        for event in events {
            let document = pending.entry(event.key.clone()).or_default();
            if document.front().is_some_and(|e| e.place == event.place) {
                document.pop_front();
            }
        }
        Ok(())
    }
    async fn mark_refused(&self, _: Place, _: &str) -> Result<(), BoxError> {
        Ok(())
    }
    async fn depth(&self) -> Result<Depth, BoxError> {
        Ok(Depth::default())
    }
    async fn keys_pending_before(&self, _: DateTime<Utc>) -> Result<i64, BoxError> {
        Ok(0)
    }
    async fn lease(&self, _: Uuid) -> Result<Option<Lease>, BoxError> {
        Ok(None)
    }
    async fn remove_published(&self, _: DateTime<Utc>) -> Result<u64, BoxError> {
        Ok(0)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_publishes_all_that_documents_hold_however_it_is_spread() {
    for (keys, each, failures) in [(100, 20, 0), (600, 3, 0), (1, 2000, 0), (100, 20, 3)] {
        let outbox = Documents::of(keys, each, failures);
        let bus = Arc::new(Bus::default());
        let relay = Relay::new(
            Arc::clone(&outbox) as _,
            Arc::clone(&bus) as _,
            Arc::new(SystemClock),
            Metrics::new(),
        );
        let (stop, mut running) = (CancellationToken::new(), JoinSet::new());
        running.spawn(relay.run(stop.clone()));
        until("nothing is pending any more", || async {
            let pending = outbox.pending.lock();
            pending.values().all(VecDeque::is_empty)
        })
        .await;
        let versions: Vec<String> = (1..=each).map(|version| version.to_string()).collect();
        for key in 0..keys {
            let of_key = bus.of(&key.to_string());
            assert_eq!(of_key, versions, "{keys} keys, {each} each: {key}");
        }
        stop.cancel();
        while let Some(ended) = running.join_next().await {
            ended.unwrap().unwrap();
        }
    }
}
