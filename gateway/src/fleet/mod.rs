//! A fleet as the command line reaches it: every store and the bus, to look at and to mend. The services
//! go on meanwhile, each as a process of its own.

pub(crate) mod servers;

use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use blocks::config::Config;
use blocks::outbox::InspectOutbox;
use blocks::{Clock, Service, SystemClock};
use feed_generator::Feed;
use notification::Notifications;
use posts::Posts;
use sql::Db;
use tokio_util::sync::CancellationToken;
use user_profile::Profiles;

use self::servers::Servers;
use crate::admin::{Accounts, Admin, Applier};

/// An open fleet. [`Reached::close`] ends its connections.
pub struct Reached {
    servers: Servers,
    admin: Admin,
}

impl Reached {
    /// Reaches the fleet that `config` names.
    ///
    /// # Errors
    /// Names the setting that is absent or wrong, or the server that does not answer.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        let servers = Servers::connect(config).await?;
        let admin = admin(config, &servers)?;
        Ok(Self { servers, admin })
    }

    /// What can be asked of it.
    pub fn api(&self) -> Router {
        self.admin.router()
    }

    /// Ends its connections.
    pub async fn close(&self) {
        self.servers.close().await;
    }
}

fn admin(config: &Config, servers: &Servers) -> anyhow::Result<Admin> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let auth = database(servers, auth::NAME)?;
    let profiles = database(servers, user_profile::NAME)?;
    let notifications = database(servers, notification::NAME)?;
    let (mongo, redis) = (servers.mongo().clone(), servers.redis());
    let feed = Feed::on_redis(redis, servers.bus(), feed_generator::Settings::default());
    let readers: [Service; 4] = [
        user_profile::service(&Profiles::open(
            profiles.clone(),
            user_profile::domain::Limits::default(),
        )),
        posts::service(&Posts::open_mongo(
            mongo.clone(),
            posts::domain::Limits::DEFAULT,
        )),
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
            secret: config.secret_key.clone(),
            clock: Arc::clone(&clock),
        },
        feed,
        bus: servers.bus(),
        clock,
        consumers: readers.into_iter().flat_map(|of| of.consumers).collect(),
        outboxes,
        applier: Applier::Loops,
        stop: CancellationToken::new(),
    })
}

fn database(servers: &Servers, service: &str) -> anyhow::Result<Db> {
    let found = servers.database(service).cloned();
    found.with_context(|| format!("{service} has no schema"))
}
