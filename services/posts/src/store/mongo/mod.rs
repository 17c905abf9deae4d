//! Posts in MongoDB.
//!
//! One write can change one document, so a post's document holds all that must change together. These
//! are its content, its version, the events still to be published (`pending`), and its idempotency
//! key. There are no transactions, and no replica set is needed. A write that depends on a read names
//! the version it read.
//!
//! | collection | a document is |
//! |------------|---------------|
//! | `posts` | a post, or a deleted one's tombstone: no content, the version, the pending events |
//! | `authors` | an author: the current name, and whether the account was closed |
//! | `outbox_messages` | an event of no post that is still to be published: a dead letter, an answer |
//! | `consumer_offsets`, `consumer_keys`, `inbox_messages` | see [`consumer`] |
//! | `leases` | the sweeper, see [`blocks::outbox::Outbox::lease`] |
//!
//! Creating a post is one write: the insert of its document, together with those created at the same
//! time. Its event is handed over in memory, and taken out of the document later, together with many
//! others.
//!
//! An account is closed in three separate writes. The author's document is marked as closed, the posts
//! are deleted, and a while later those posts that were being inserted meanwhile. Then it is answered that
//! the account is erased. After an insert, it is checked whether the account is still open. As far as this
//! process knows, no response claims a post that will not stay.

mod address;
mod authors;
mod closing;
pub mod consumer;
pub mod data_migration;
mod document;
mod error;
mod events;
mod inserts;
mod inspect;
mod lease;
mod names;
mod outbox;
mod posts;
mod upkeep;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use async_trait::async_trait;
use blocks::Clock;
use blocks::error::{BoxError, chain};
use blocks::health;
use blocks::outbox::{Direct, HandOver, InspectOutbox, Pending, ensure_drained};
use blocks::service::Check;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::{
    Acknowledgment, ClientOptions, DatabaseOptions, IndexOptions, ReadConcern, WriteConcern,
};
use mongodb::{Client, Collection, Database, IndexModel};
use parking_lot::Mutex;
use service::settings::MONGODB_URL;
use service::{DataMigration, Opened, Place, Role};
use sql::{FaultPoint, Faults, StoreError};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

pub use self::address::servers_of;
pub use self::authors::Accounts;
pub use self::posts::MongoPosts;
pub use self::upkeep::Upkeep;

use self::error::failed;
use self::events::EventDoc;
use self::inserts::Inserts;
use self::names::Names;
use crate::domain::Limits;
use crate::{NAME, Posts};

/// The time that a statement waits for a usable server.
const SERVER_WAIT: Duration = Duration::from_secs(5);
/// Connections of a process.
const CONNECTIONS: u32 = 32;
/// Most unreadable documents that are remembered, so that each is logged once.
const COMPLAINTS: usize = 1000;

/// The service's settings of a database.
pub struct Settings {
    /// The service's name: its database, unless the URL names one, and what its events name as their
    /// source.
    pub service: &'static str,
    /// The source of time and ids.
    pub clock: Arc<dyn Clock>,
    /// True if `inbox_messages` keeps processed events, for people to read.
    pub keep_inbox: bool,
    /// True if events are written with what they tell of; otherwise memory alone keeps them until they are
    /// published.
    pub keep_outbox: bool,
    /// True if missing indexes are made: not by a process that only looks.
    pub makes_indexes: bool,
}

/// A service's database in MongoDB. Cheap to clone.
#[derive(Clone)]
pub struct Mongo {
    inner: Arc<Inner>,
}

struct Inner {
    database: Database,
    settings: Settings,
    hand_over: HandOver,
    committed: Mutex<Option<mpsc::Receiver<Vec<Pending>>>>,
    direct: Option<Arc<Direct>>,
    names: Names,
    inserts: Mutex<Inserts>,
    /// The tasks that write them.
    writing: TaskTracker,
    complaints: Mutex<HashSet<String>>,
    faults: Mutex<Option<Arc<dyn Faults>>>,
    /// The step of a batch after which the next injected fault strikes.
    faulty_step: AtomicUsize,
}

/// Opens the posts in the server of `on`.
pub(crate) async fn open(on: &dyn Place) -> anyhow::Result<Opened> {
    let mongo = connect(on).await?;
    let posts = Posts::open_mongo(mongo, Limits::DEFAULT);
    Ok(Opened::of(crate::service(&posts)))
}

/// The data migration of posts into the server of `on`.
pub(crate) async fn data_migration(on: &dyn Place) -> anyhow::Result<DataMigration> {
    let mongo = connect(on).await?;
    Ok(Box::new(move |from| {
        let parts = data_migration::parts(&from, &mongo);
        Box::pin(async move { Ok(parts) })
    }))
}

async fn connect(on: &dyn Place) -> anyhow::Result<Mongo> {
    let url = on.needs(&MONGODB_URL)?;
    let servers = servers_of(url.expose())
        .map_err(|why| anyhow::anyhow!("MONGODB_URL can't be used: {}", chain(&*why)))?;
    let what = format!("MongoDB at {servers} (MONGODB_URL)");
    let (clock, config) = (Arc::clone(on.clock()), on.config());
    let (keep_inbox, keep_outbox) = (config.kafka_enable_inbox, config.kafka_enable_outbox);
    let makes_indexes = on.role() == Role::Serves;
    let connect = || {
        let (url, clock) = (url.clone(), Arc::clone(&clock));
        let settings = Settings {
            service: NAME,
            clock,
            keep_inbox,
            keep_outbox,
            makes_indexes,
        };
        async move { Ok(Mongo::connect(url.expose(), settings).await?) }
    };
    let mongo = on.wait_for(health::DATABASE, what, connect).await?;
    if !keep_outbox && makes_indexes {
        let drained = ensure_drained(&mongo).await;
        drained.map_err(anyhow::Error::from_boxed)?;
    }
    let closing = mongo.clone();
    on.closes(Box::new(move || {
        Box::pin(async move { closing.close().await })
    }));
    Ok(mongo)
}

impl Mongo {
    /// Connects to the server that `url` names and makes the indexes that are missing.
    ///
    /// # Errors
    /// When the URL is malformed, or the server can't be reached or refuses.
    pub async fn connect(url: &str, settings: Settings) -> Result<Self, StoreError> {
        let mut options = ClientOptions::parse(url).await.map_err(failed)?;
        options.app_name = Some(format!("rookery {}", settings.service));
        options.max_pool_size.get_or_insert(CONNECTIONS);
        options.connect_timeout.get_or_insert(SERVER_WAIT);
        options.server_selection_timeout.get_or_insert(SERVER_WAIT);
        let name = options.default_database.clone();
        let name = name.unwrap_or_else(|| settings.service.to_owned());
        let client = Client::with_options(options).map_err(failed)?;
        // Acknowledged writes survive the loss of any one server of a replica set, and only such
        // writes are read.
        let options = DatabaseOptions::builder()
            .write_concern(durable())
            .read_concern(ReadConcern::majority())
            .build();
        let database = client.database_with_options(&name, options);
        let (hand_over, committed, direct) = HandOver::of(settings.service, settings.keep_outbox);
        let mongo = Self {
            inner: Arc::new(Inner {
                database,
                settings,
                hand_over,
                committed: Mutex::new(committed),
                direct,
                names: Names::default(),
                inserts: Mutex::default(),
                writing: TaskTracker::new(),
                complaints: Mutex::default(),
                faults: Mutex::default(),
                faulty_step: AtomicUsize::new(0),
            }),
        };
        if mongo.inner.settings.makes_indexes {
            mongo.ensure_indexes().await?;
        }
        Ok(mongo)
    }

    /// Makes missing indexes. Several processes may do this at once, and at every start.
    async fn ensure_indexes(&self) -> Result<(), StoreError> {
        let plain = IndexOptions::default;
        // Sparse: a document without the field is not in it. A partial index would say the same, but
        // not every server that speaks MongoDB's protocol has those.
        let sparse = || IndexOptions::builder().sparse(true).build();
        let unique = IndexOptions::builder().unique(true).sparse(true).build();
        let indexes = [
            (
                POSTS,
                vec![
                    (doc! {"deleted": 1, "created_at": -1, "_id": -1}, plain()),
                    (
                        doc! {"user_id": 1, "deleted": 1, "created_at": -1, "_id": -1},
                        plain(),
                    ),
                    (doc! {"tags": 1, "created_at": -1, "_id": -1}, plain()),
                    (doc! {"pending.0.id": 1}, sparse()),
                    (doc! {"request.id": 1}, unique),
                    (doc! {"request.created_at": 1}, sparse()),
                ],
            ),
            (AUTHORS, vec![(doc! {"has_posts": 1}, sparse())]),
            (
                consumer::KEYS,
                vec![(doc! {"group": 1, "parked.number": 1}, plain())],
            ),
            (
                consumer::INBOX,
                vec![
                    (doc! {"key_id": 1, "status": 1, "version": 1}, plain()),
                    (doc! {"status": 1, "received_at": 1}, plain()),
                ],
            ),
        ];
        for (collection, indexes) in indexes {
            let documents = self.collection(collection);
            // One by one: FerretDB 1 fails on a list with several indexes that exist already.
            for (keys, options) in indexes {
                let index = IndexModel::builder().keys(keys).options(options).build();
                documents.create_index(index).await.map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Waits for writes under way, then closes the connections.
    pub async fn close(&self) {
        self.inner.writing.close();
        self.inner.writing.wait().await;
        self.inner.database.client().clone().shutdown().await;
    }

    /// The outbox of its events.
    pub fn outbox(&self) -> Arc<dyn InspectOutbox> {
        match &self.inner.direct {
            Some(direct) => Arc::clone(direct) as _,
            None => Arc::new(self.clone()),
        }
    }

    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// A collection of the service's database.
    fn collection(&self, name: &str) -> Collection<Document> {
        self.inner.database.collection(name)
    }

    /// Names and closed accounts, as this process last saw them.
    fn names(&self) -> &Names {
        &self.inner.names
    }

    /// Runs a write to its end, with its follow-up, even if the caller stops waiting.
    async fn to_its_end<T: Send + 'static>(
        &self,
        write: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let done = self.inner.writing.spawn(write).await;
        done.unwrap_or_else(|_| Err(StoreError::Panicked))
    }

    fn admits_events(&self) -> Result<(), StoreError> {
        if self.inner.hand_over.is_full() {
            return Err(StoreError::Unavailable(
                "too many events wait for the bus".into(),
            ));
        }
        Ok(())
    }

    /// What a document keeps of an event until it is published.
    fn kept(&self, event: EventDoc) -> Vec<EventDoc> {
        self.inner
            .direct
            .is_none()
            .then_some(event)
            .into_iter()
            .collect()
    }

    /// Gives the events of a write to the relay.
    fn hand_over(&self, events: Vec<Pending>) {
        self.inner.hand_over.give(events);
    }

    /// Says that `events` may be lost, if the write that failed with `error` may be done.
    fn answer_lost(&self, events: &[Pending], error: &StoreError) {
        if error::leaves_in_doubt(error) {
            self.inner.hand_over.answer_lost(events, error);
        }
    }

    /// Runs several statements on one collection in one round trip; answers how many documents they
    /// matched.
    async fn update_each(
        &self,
        collection: &str,
        statements: Vec<Document>,
    ) -> Result<usize, StoreError> {
        let mut updated = 0;
        let mut rest = statements.into_iter().peekable();
        while rest.peek().is_some() {
            let page: Vec<Document> = rest.by_ref().take(STATEMENTS).collect();
            let concern = doc! {"w": "majority", "j": true};
            let command = doc! {
                "update": collection, "updates": page, "ordered": true, "writeConcern": concern,
            };
            let done = self.inner.database.run_command(command).await;
            let done = done.map_err(failed)?;
            if let Some(error) = error::of_statements(&done) {
                return Err(error);
            }
            updated += usize::try_from(done.get_i32("n").unwrap_or_default()).unwrap_or_default();
        }
        Ok(updated)
    }

    /// Logs once a process that a document can't be read: a stranger must have written into our
    /// collections.
    fn complain(&self, collection: &str, id: Option<&Bson>, why: &BoxError) {
        let id = id.map(ToString::to_string).unwrap_or_default();
        let mut complaints = self.inner.complaints.lock();
        if complaints.len() < COMPLAINTS && complaints.insert(format!("{collection}/{id}")) {
            tracing::error!(
                collection, document.id = %id, error = %why,
                "a document is not as this service writes it, and is passed over"
            );
        }
    }

    /// Makes writes fail where `faults` says so: for tests.
    #[doc(hidden)]
    pub fn inject(&self, faults: Arc<dyn Faults>) {
        *self.inner.faults.lock() = Some(faults);
    }

    fn fault(&self, point: FaultPoint) -> Result<(), StoreError> {
        match &*self.inner.faults.lock() {
            Some(faults) if faults.fails(point) => {
                Err(StoreError::Unavailable("injected fault".into()))
            }
            _ => Ok(()),
        }
    }

    /// The database, for tests that read it directly.
    #[doc(hidden)]
    pub fn database(&self) -> &Database {
        &self.inner.database
    }
}

/// The collection of posts.
const POSTS: &str = "posts";
/// The collection of authors.
const AUTHORS: &str = "authors";
/// The collection of events to publish that belong to no post.
const OUTBOX: &str = "outbox_messages";
/// The collection of leases, for work that one process does for all.
const LEASES: &str = "leases";

/// Most statements in one command. FerretDB 1 holds one of its 100 database connections for each
/// statement until the last is done. Without a free one it waits for ever. The limit also gives others
/// their turn.
const STATEMENTS: usize = 25;

fn durable() -> WriteConcern {
    WriteConcern::builder()
        .w(Acknowledgment::Majority)
        .journal(true)
        .build()
}

/// The error for callers whose write is given up because the process stops.
fn stopping() -> mongodb::error::Error {
    let why: BoxError = "the process is stopping".into();
    mongodb::error::Error::custom(why)
}

#[async_trait]
impl Check for Mongo {
    fn name(&self) -> &'static str {
        health::DATABASE
    }

    async fn check(&self) -> Result<(), BoxError> {
        let answer = self.inner.database.run_command(doc! {"ping": 1}).await;
        answer.map_err(failed)?;
        Ok(())
    }
}
