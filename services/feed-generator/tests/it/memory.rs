//! The streams in memory: the adapter of their port for tests that need no database.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use blocks::bus::EventBus;
use blocks::consumer::{HandlerError, Offsets};
use blocks::error::BoxError;
use blocks::service::Check;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use events::users::UserErased;
use events::{Envelope, topic};
use feed_generator::consumer::{GROUP, TOPICS};
use feed_generator::domain::{Change, Entry, GLOBAL_LENGTH, Start, Stream, Window};
use feed_generator::error::FeedError;
use feed_generator::rebuild::Targets;
use feed_generator::render::{self, Named, Rendered, Slice};
use feed_generator::store::{Counts, FeedStore};
use feed_generator::{Feed, NAME, Parts, Settings};
use parking_lot::Mutex;
use testkit::memory::{Handler, Memory, MemoryConsumer, Tx};
use uuid::Uuid;

type Entries = BTreeMap<Uuid, Arc<Entry>>;

/// All that the feed keeps.
#[derive(Clone, Default)]
pub struct Streams {
    pub shown: Entries,
    rebuild: Option<Rebuild>,
    /// The version that told it, and the name; `None` for a closed account.
    pub authors: BTreeMap<i64, (i64, Option<String>)>,
}

/// Entries that are made anew, beside those that are shown.
#[derive(Clone)]
struct Rebuild {
    targets: Targets,
    started_at: DateTime<Utc>,
    entries: Entries,
}

impl Streams {
    /// The entries of `stream`, newest first.
    fn newest(&self, stream: Stream) -> Vec<&Arc<Entry>> {
        let of_stream = |entry: &&Arc<Entry>| match stream {
            Stream::Global => true,
            Stream::User(user_id) => entry.user_id == user_id,
        };
        let mut entries: Vec<_> = self.shown.values().filter(of_stream).collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.place()));
        entries
    }

    fn named(&self, entry: &Entry) -> Named {
        let name = self
            .authors
            .get(&entry.user_id)
            .and_then(|(_, name)| name.as_deref());
        (Arc::new(Rendered::of(entry)), name.map(render::name))
    }

    fn put(&mut self, entry: Entry, time: DateTime<Utc>) {
        let is_closed = |(_, name): &(i64, Option<String>)| name.is_none();
        if self.authors.get(&entry.user_id).is_some_and(is_closed) {
            return;
        }
        let entry = Arc::new(entry);
        if let Some(rebuild) = &mut self.rebuild {
            rebuild.entries.insert(entry.post_id, Arc::clone(&entry));
            if time < rebuild.started_at {
                return;
            }
        }
        self.shown.insert(entry.post_id, entry);
    }

    /// Drops the entries that `keeps` does not want, and counts them.
    fn retain(&mut self, keeps: impl Fn(&Entry) -> bool) -> usize {
        let mut all = vec![&mut self.shown];
        all.extend(self.rebuild.as_mut().map(|rebuild| &mut rebuild.entries));
        let mut dropped = 0;
        for entries in all {
            let before = entries.len();
            entries.retain(|_, entry| keeps(entry));
            dropped += before - entries.len();
        }
        dropped
    }

    /// Takes over an account's name as of `version`, unless a later version came before. A closed account
    /// has none, and loses its entries: then this is the number of records.
    fn author(&mut self, user_id: i64, name: Option<String>, version: i64) -> Option<usize> {
        let known = self.authors.get(&user_id);
        if known.is_some_and(|(known, _)| *known >= version) {
            return None;
        }
        let had_name = known.is_some_and(|(_, name)| name.is_some());
        let erased = name
            .is_none()
            .then(|| usize::from(had_name) + self.retain(|entry| entry.user_id != user_id));
        self.authors.insert(user_id, (version, name));
        erased
    }
}

/// The streams in a [`Memory`].
struct MemoryFeed(Memory<Streams>);

/// The service's state over `memory`.
pub fn open(memory: &Memory<Streams>, bus: Arc<dyn EventBus>, settings: Settings) -> Feed {
    let projection = Projection {
        bus: Arc::clone(&bus),
        targets: Mutex::default(),
    };
    let parts = Parts {
        store: Arc::new(MemoryFeed(memory.clone())),
        consumer: MemoryConsumer::new(memory.clone(), GROUP, TOPICS, projection).consumer(),
        outbox: Arc::new(memory.clone()),
        check: Arc::new(memory.clone()),
        background: vec![],
    };
    Feed::over(parts, bus, settings)
}

#[async_trait]
impl FeedStore for MemoryFeed {
    async fn page(&self, window: &Window) -> Result<Bytes, FeedError> {
        let page = self.0.read(|streams| {
            let newest = streams.newest(window.stream);
            let total = newest.len().min(window.stream.length());
            let newest = newest.into_iter().filter(|entry| match window.start {
                Start::Skip(_) => true,
                Start::After(place) => entry.place() < place,
            });
            let page = newest.skip(window.skip()).take(window.rows());
            let mut items: Vec<Named> = page.map(|entry| streams.named(entry)).collect();
            let more = window.cut(&mut items);
            Slice { items, total, more }.render(window)
        });
        Ok(page.await?)
    }

    async fn counts(&self) -> Result<Counts, FeedError> {
        let counts = self.0.read(|streams| {
            let users = streams.shown.values().map(|entry| entry.user_id);
            Counts {
                activities: streams.shown.len().min(GLOBAL_LENGTH),
                streams: users.collect::<BTreeSet<_>>().len(),
            }
        });
        Ok(counts.await?)
    }

    async fn targets(&self) -> Result<Option<Targets>, FeedError> {
        let targets = |streams: &Streams| Some(streams.rebuild.as_ref()?.targets.clone());
        Ok(self.0.read(targets).await?)
    }
}

#[async_trait]
impl Check for MemoryFeed {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    async fn check(&self) -> Result<(), BoxError> {
        self.0.check().await
    }
}

/// Applies events to the streams.
struct Projection {
    bus: Arc<dyn EventBus>,
    /// The log's watermarks, noted before the offsets are forgotten.
    targets: Mutex<Targets>,
}

#[async_trait]
impl Handler<Streams> for Projection {
    fn handle(&self, tx: &mut Tx<Streams>, event: &Envelope) -> Result<(), HandlerError> {
        match Change::of(event)? {
            Some(Change::Put(entry)) => tx.put(entry, event.time),
            Some(Change::Remove { post_id, .. }) => {
                tx.retain(|entry| entry.post_id != post_id);
            }
            Some(Change::Name { user_id, username }) => {
                tx.author(user_id, Some(username), event.sequence);
            }
            Some(Change::Forget(user_id)) => {
                if let Some(records) = tx.author(user_id, None, event.sequence) {
                    let answer = UserErased {
                        user_id,
                        service: NAME.to_owned(),
                        records: records as u64,
                    };
                    tx.publish(&answer, 1)?;
                }
            }
            None => {}
        }
        Ok(())
    }

    fn reset(&self, tx: &mut Tx<Streams>, topics: &[String]) {
        if topics.iter().any(|name| name == topic::USERS.name) {
            for (version, name) in tx.authors.values_mut() {
                if name.is_some() {
                    *version = 0;
                }
            }
        }
        if topics.iter().any(|name| name == topic::POSTS.name) {
            let started_at = tx.now();
            tx.rebuild = Some(Rebuild {
                targets: self.targets.lock().clone(),
                started_at,
                entries: Entries::new(),
            });
        }
    }

    async fn prepare_reset(&self) -> Result<(), BoxError> {
        let watermarks = self.bus.watermarks(topic::POSTS.name).await?;
        *self.targets.lock() = Targets::of(&watermarks);
        Ok(())
    }

    /// Ends a rebuild that has reached its targets. Events read again are old: their age says nothing.
    fn moved(&self, tx: &mut Tx<Streams>, next: &Offsets) -> bool {
        let are_new = tx.rebuild.is_none();
        let of_posts = next.iter().filter(|(of, _)| of.topic == topic::POSTS.name);
        let of_posts = of_posts.map(|(of, next)| (of.partition, *next)).collect();
        let reached = tx.rebuild.take_if(|rebuild| {
            let progress = rebuild.targets.progress(&of_posts);
            progress.done == progress.total
        });
        if let Some(rebuild) = reached {
            tx.shown = rebuild.entries;
        }
        are_new
    }
}
