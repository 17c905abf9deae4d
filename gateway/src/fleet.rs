//! A fleet as the command line reaches it: every store and the bus, to look at and to mend. The services
//! go on meanwhile, each as a process of its own.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use blocks::Service;
use blocks::SystemClock;
use blocks::config::Config;
use blocks::error::chain;
use blocks::outbox::InspectOutbox;
use feed_generator::Feed;
use feed_generator::store::redis::{RedisFeed, RedisSettings};
use notification::Notifications;
use posts::Posts;
use posts::store::mongo::{Mongo, Settings as MongoSettings};
use runtime::Stores;
use runtime::fleet::Fleet;
use sql::{Db, Migration};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::admin::{Accounts, Admin, Applier};

/// How long a command waits for a server that does not answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// An open fleet. [`Reached::close`] ends its connections.
pub struct Reached {
    fleet: Fleet,
    admin: Admin,
}

impl Reached {
    /// Reaches the fleet that `config` names.
    ///
    /// # Errors
    /// Names the setting that is absent or wrong, or the server that does not answer.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        let fleet = Fleet::open(config.clone(), Arc::new(SystemClock))?;
        match Self::open_over(&fleet).await {
            Ok(admin) => Ok(Self { fleet, admin }),
            Err(error) => {
                fleet.close().await;
                Err(error)
            }
        }
    }

    async fn open_over(fleet: &Fleet) -> anyhow::Result<Admin> {
        let auth = database(fleet, auth::NAME, auth::MIGRATIONS).await?;
        let profiles = database(fleet, user_profile::NAME, user_profile::MIGRATIONS).await?;
        let notifications = database(fleet, notification::NAME, notification::MIGRATIONS).await?;
        let mongo = mongo(fleet).await?;
        let redis = redis(fleet)?;
        let feed = Feed::on_redis(&redis, fleet.bus(), feed_generator::Settings::default());
        let profile_limits = user_profile::domain::Limits::default();
        let posts = Posts::open_mongo(mongo.clone(), posts::domain::Limits::DEFAULT);
        let readers: [Service; 4] = [
            user_profile::service(&user_profile::Profiles::open(
                profiles.clone(),
                profile_limits,
            )),
            posts::service(&posts),
            feed_generator::service(&feed),
            notification::service(&Notifications::open(notifications.clone())),
        ];
        let outboxes: Vec<Arc<dyn InspectOutbox>> = vec![
            Arc::new(auth.clone()),
            Arc::new(profiles),
            Arc::new(mongo),
            Arc::new(redis.letters()),
            Arc::new(notifications),
        ];
        Ok(Admin {
            accounts: Accounts::Keyed {
                db: auth,
                secret: fleet.config().secret_key.clone(),
                clock: Arc::clone(fleet.clock()),
            },
            feed,
            bus: fleet.bus(),
            clock: Arc::clone(fleet.clock()),
            consumers: readers.into_iter().flat_map(|of| of.consumers).collect(),
            outboxes,
            applier: Applier::Loops,
            stop: CancellationToken::new(),
        })
    }

    /// What can be asked of it.
    pub fn api(&self) -> Router {
        self.admin.router()
    }

    /// Ends its connections.
    pub async fn close(&self) {
        self.fleet.close().await;
    }
}

/// The schema of `service`.
async fn database(
    fleet: &Fleet,
    service: &'static str,
    migrations: &[Migration],
) -> anyhow::Result<Db> {
    within(fleet, fleet.database(service, migrations)).await?
}

/// The posts' database.
async fn mongo(fleet: &Fleet) -> anyhow::Result<Mongo> {
    let url = fleet.config().mongodb_url.as_ref();
    let url = url.context("MONGODB_URL is not set: it names the MongoDB server of the posts")?;
    let opened = fleet.wait_for("database", "MongoDB (MONGODB_URL)", || async {
        let settings = MongoSettings {
            service: posts::NAME,
            clock: Arc::clone(fleet.clock()),
            keep_inbox: fleet.config().kafka_enable_inbox,
        };
        Ok(Mongo::connect(url.expose(), settings).await?)
    });
    let mongo = within(fleet, opened).await?;
    let closing = mongo.clone();
    fleet.closes(move || Box::pin(async move { closing.close().await }));
    Ok(mongo)
}

/// The streams. They are asked when they are needed.
fn redis(fleet: &Fleet) -> anyhow::Result<RedisFeed> {
    let url = fleet.config().redis_url.as_ref();
    let url = url.context("REDIS_URL is not set: it names the Redis server of the feed")?;
    RedisFeed::new(RedisSettings {
        url: url.expose().to_owned(),
        prefix: String::new(),
        clock: Arc::clone(fleet.clock()),
    })
    .map_err(|error| anyhow::anyhow!("REDIS_URL can't be used: {}", chain(&*error)))
}

/// What comes of `work`, unless a server keeps it waiting.
async fn within<T>(fleet: &Fleet, work: impl Future<Output = T>) -> anyhow::Result<T> {
    match timeout(PATIENCE, work).await {
        Ok(done) => Ok(done),
        Err(_) => bail!("{}", fleet.missing().join("; ")),
    }
}
