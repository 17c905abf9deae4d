//! Posts in MongoDB.
//!
//! A document is what one write can change, so a post's document holds all that must change together:
//! what the post says, its version, the events that are still to be published (`pending`), and the
//! key under which it was asked for. There are no transactions and no replica set is needed; a write
//! that depends on what was read names the version that it read.
//!
//! | collection | a document is |
//! |------------|---------------|
//! | `posts` | a post, or what a deleted one leaves: no content, the version, the events to come |
//! | `authors` | who writes: the name of now, and whether the account was closed |
//! | `outbox_messages` | a dead letter that is still to be published |
//! | `consumer_offsets`, `consumer_keys`, `inbox_messages` | see [`consumer`] |
//! | `leases` | who sweeps, see [`blocks::outbox::Outbox::lease`] |
//!
//! Whoever creates a post writes once: the insert of its document, together with those of others who
//! write at the same time. Its event is handed over in memory and taken out of the document later,
//! together with those of many others.
//!
//! An account is closed in three steps that nothing holds together: the author's document says so, the
//! posts that stand are deleted, and a while later those that were on their way meanwhile. In between,
//! whoever creates a post looks after the insert whether the account still stands; so an answer never
//! claims a post that will not stay, as far as this process knows.

mod address;
mod authors;
mod closing;
pub mod consumer;
mod document;
mod error;
mod events;
mod inserts;
mod inspect;
mod lease;
pub mod moving;
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
use blocks::outbox::{HandOver, Pending};
use blocks::service::Check;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::{
    Acknowledgment, ClientOptions, DatabaseOptions, IndexOptions, ReadConcern, WriteConcern,
};
use mongodb::{Client, Collection, Database, IndexModel};
use parking_lot::Mutex;
use service::settings::MONGODB_URL;
use service::{Opened, Place};
use sql::{FaultPoint, Faults, StoreError};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

pub use self::address::servers_of;
pub use self::authors::Accounts;
pub use self::posts::MongoPosts;
pub use self::upkeep::Upkeep;

use self::error::failed;
use self::inserts::Inserts;
use self::names::Names;
use crate::domain::Limits;
use crate::{NAME, Posts};

/// How long a statement waits for a server that can be asked.
const SERVER_WAIT: Duration = Duration::from_secs(5);
/// Connections of a process.
const CONNECTIONS: u32 = 32;
/// Documents that were complained about; more are not remembered.
const COMPLAINTS: usize = 1000;

/// What a database needs to know of its service.
pub struct Settings {
    /// The service's name: its database, unless the URL names one, and what its events name as their
    /// source.
    pub service: &'static str,
    /// Time and ids.
    pub clock: Arc<dyn Clock>,
    /// Whether `inbox_messages` keeps what had its effect, for people to look at.
    pub keep_inbox: bool,
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
    names: Names,
    inserts: Mutex<Inserts>,
    /// What writes them.
    writing: TaskTracker,
    complaints: Mutex<HashSet<String>>,
    faults: Mutex<Option<Arc<dyn Faults>>>,
    /// After which step of a batch the next injected fault strikes.
    faulty_step: AtomicUsize,
}

/// Opens the posts in the server of `on`.
pub(crate) async fn open(on: &dyn Place) -> anyhow::Result<Opened> {
    let url = on.needs(&MONGODB_URL)?;
    let servers = servers_of(url.expose())
        .map_err(|why| anyhow::anyhow!("MONGODB_URL can't be used: {}", chain(&*why)))?;
    let what = format!("MongoDB at {servers} (MONGODB_URL)");
    let (clock, keep_inbox) = (Arc::clone(on.clock()), on.config().kafka_enable_inbox);
    let connect = || {
        let (url, clock) = (url.clone(), Arc::clone(&clock));
        let settings = Settings {
            service: NAME,
            clock,
            keep_inbox,
        };
        async move { Ok(Mongo::connect(url.expose(), settings).await?) }
    };
    let mongo = on.wait_for(health::DATABASE, what, connect).await?;
    let closing = mongo.clone();
    on.closes(Box::new(move || {
        Box::pin(async move { closing.close().await })
    }));
    let posts = Posts::open_mongo(mongo.clone(), Limits::DEFAULT);
    Ok(Opened::moving(crate::service(&posts), move |from| {
        let parts = moving::parts(&from, &mongo);
        Box::pin(async move { Ok(parts) })
    }))
}

impl Mongo {
    /// Connects to the server that `url` names and makes the indexes that are missing.
    ///
    /// # Errors
    /// When the URL is none, or the server can't be asked or refuses.
    pub async fn connect(url: &str, settings: Settings) -> Result<Self, StoreError> {
        let mut options = ClientOptions::parse(url).await.map_err(failed)?;
        options.app_name = Some(format!("rookery {}", settings.service));
        options.max_pool_size.get_or_insert(CONNECTIONS);
        options.connect_timeout.get_or_insert(SERVER_WAIT);
        options.server_selection_timeout.get_or_insert(SERVER_WAIT);
        let name = options.default_database.clone();
        let name = name.unwrap_or_else(|| settings.service.to_owned());
        let client = Client::with_options(options).map_err(failed)?;
        // What was acknowledged survives the death of any one server of a replica set, and what is
        // read was acknowledged so.
        let options = DatabaseOptions::builder()
            .write_concern(durable())
            .read_concern(ReadConcern::majority())
            .build();
        let database = client.database_with_options(&name, options);
        let (hand_over, committed) = HandOver::channel();
        let mongo = Self {
            inner: Arc::new(Inner {
                database,
                settings,
                hand_over,
                committed: Mutex::new(Some(committed)),
                names: Names::default(),
                inserts: Mutex::default(),
                writing: TaskTracker::new(),
                complaints: Mutex::default(),
                faults: Mutex::default(),
                faulty_step: AtomicUsize::new(0),
            }),
        };
        mongo.ensure_indexes().await?;
        Ok(mongo)
    }

    /// Several processes may do this at once, and again at every start.
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
            // One after the other: FerretDB 1 falls over a list with several that are there already.
            for (keys, options) in indexes {
                let index = IndexModel::builder().keys(keys).options(options).build();
                documents.create_index(index).await.map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Ends its connections, once what is being written is.
    pub async fn close(&self) {
        self.inner.writing.close();
        self.inner.writing.wait().await;
        self.inner.database.client().clone().shutdown().await;
    }

    /// The settings.
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

    /// Does a write to its end, also when whoever asked for it stops waiting: what follows the write
    /// itself is not left out.
    async fn to_its_end<T: Send + 'static>(
        &self,
        write: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let done = self.inner.writing.spawn(write).await;
        done.unwrap_or_else(|_| Err(StoreError::Panicked))
    }

    /// Gives what a write published to the relay.
    fn hand_over(&self, events: Vec<Pending>) {
        self.inner.hand_over.give(events);
    }

    /// Several statements about documents of one collection in one round trip; answers about how many
    /// documents they were.
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

    /// Says once a process that a document can't be read, which is nobody's doing but somebody's who
    /// wrote into our collections.
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

    /// Makes writes fail where `faults` says so. For tests of what holds when they do.
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

    /// The database, for tests that look for themselves.
    #[doc(hidden)]
    pub fn database(&self) -> &Database {
        &self.inner.database
    }
}

/// The posts.
const POSTS: &str = "posts";
/// Who writes.
const AUTHORS: &str = "authors";
/// Dead letters on their way.
const LETTERS: &str = "outbox_messages";
/// Who does the work that one process does for all.
const LEASES: &str = "leases";

/// Statements in one command. FerretDB 1 holds a connection to its database for each of them until the
/// last is done, has 100, and waits for ever when it has no more; and others get their turn in between.
const STATEMENTS: usize = 25;

fn durable() -> WriteConcern {
    WriteConcern::builder()
        .w(Acknowledgment::Majority)
        .journal(true)
        .build()
}

/// Why what waited for a write is told nothing else.
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
