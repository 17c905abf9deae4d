//! Every service, open over its file.

use std::sync::Arc;

use anyhow::Context;
use auth::Auth;
use blocks::config::{Config, Durability};
use blocks::service::Check;
use blocks::{Mode, Route, Service};
use chrono::TimeDelta;
use feed_generator::Feed;
use notification::Notifications;
use posts::Posts;
use runtime::{Embedded, Kept};
use user_profile::Profiles;

/// Every service with the gateway's rules for it, in the order in which they are documented.
pub const ROUTES: &[(&str, &[Route])] = &[
    ("auth", auth::ROUTES),
    ("user-profile", user_profile::ROUTES),
    ("posts", posts::ROUTES),
    ("feed-generator", feed_generator::ROUTES),
    ("notification", notification::ROUTES),
];

/// A line a method of each route.
pub fn routes() -> impl Iterator<Item = (&'static str, &'static str, &'static str, Mode)> {
    ROUTES.iter().flat_map(|(service, routes)| {
        routes.iter().flat_map(|route| {
            let methods = route.methods.iter();
            methods.map(|method| (*service, *method, route.path, route.mode))
        })
    })
}

/// The services of this process, and the two that others ask directly.
pub struct Site {
    /// Ready to be run.
    pub services: Vec<Service>,
    /// Tells whose a token is.
    pub auth: Auth,
    /// Can be made anew from the log.
    pub feed: Feed,
    /// Whether the event log answers.
    pub events: Vec<Arc<dyn Check>>,
}

impl Site {
    /// Opens the services over `embedded`.
    ///
    /// # Errors
    /// When a file can't be opened, or the secret key does not fit.
    pub async fn open(config: &Config, embedded: &Embedded) -> anyhow::Result<Self> {
        let own = Kept::AsConfigured;
        let rebuildable = Kept::Rebuildable;
        let (auth_db, profile_db, posts_db, feed_db, notification_db) = tokio::try_join!(
            embedded.database("auth", own, auth::MIGRATIONS),
            embedded.database("user-profile", own, user_profile::MIGRATIONS),
            embedded.database("posts", own, posts::MIGRATIONS),
            embedded.database("feed-generator", rebuildable, feed_generator::MIGRATIONS),
            embedded.database("notification", own, notification::MIGRATIONS),
        )?;
        let auth = Auth::open(
            auth_db,
            auth_settings(config, embedded)?,
            Arc::clone(embedded.clock()),
        )
        .await
        .context("could not start auth")?;
        let profiles = Profiles::open(profile_db, user_profile::domain::Limits::default());
        let posts = Posts::open(
            posts_db,
            posts::Settings {
                cache: true,
                ..posts::Settings::default()
            },
        );
        let feed = Feed::open(
            feed_db,
            embedded.bus(),
            feed_generator::Settings {
                public: config.public_activity_stream,
                ..feed_generator::Settings::default()
            },
        )
        .await
        .context("could not start the feed generator")?;
        let notifications = Notifications::open(notification_db);
        Ok(Self {
            services: vec![
                auth::service(&auth),
                user_profile::service(&profiles),
                posts::service(&posts),
                feed_generator::service(&feed),
                notification::service(&notifications),
            ],
            auth,
            feed,
            events: embedded.checks(),
        })
    }
}

fn auth_settings(config: &Config, embedded: &Embedded) -> anyhow::Result<auth::Settings> {
    let secret_key = match &config.secret_key {
        Some(secret) => secret.expose().to_owned(),
        None => embedded.folder().secret_key()?,
    };
    Ok(auth::Settings {
        token_ttl: TimeDelta::from_std(config.access_token_lifetime)
            .context("ACCESS_TOKEN_SECONDS is out of range")?,
        ..auth::Settings::new(secret_key)
    })
}

/// What `config` says a commit survives, for people.
pub(crate) fn survives(config: &Config) -> &'static str {
    match config.sqlite_durability {
        Durability::Full => "a power cut",
        Durability::Process => "a crash of the process, not a power cut",
    }
}
