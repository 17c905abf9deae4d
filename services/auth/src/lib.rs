//! Auth: accounts, sessions and tokens.
//!
//! ```text
//! POST /api/auth/register ─ api ─ commands ─ store ─┬─ users, sessions     one atomic write
//!                                                   └─ outbox ─ relay ─▶ topic `user.events`
//! GET /api/auth/validate ─ identities ─▶ the caller  (memory; the store once a token)
//! ```
//!
//! | owns      | accounts, sessions, signing keys, mails to accounts, people as other providers know them |
//! | publishes | `user.created`, `user.updated`, `user.deleted`, `user.authenticated`, `user.session_revoked` |
//! | consumes  | `user.erased` |
//!
//! Invariants: an address or a name belongs to one account, whatever its case (the database decides).
//! A session is refused from the answer on that ended it. Passwords are hashed on threads of their
//! own ([`passwords`]). No answer has a hash in it.

mod api;
mod attempts;
pub mod client;
pub mod commands;
mod consumer;
pub mod domain;
pub mod error;
mod hasher;
mod identities;
pub mod import;
mod imported_hash;
mod integration;
mod keyring;
mod links;
pub mod mails;
mod memory;
pub mod oidc;
pub mod operator;
pub mod passwords;
pub mod queries;
mod refresh;
mod replicas;
pub mod revocations;
mod secrets;
mod store;
mod strength;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use blocks::config::{self, AnySetting, Secret, Setting};
use blocks::gateway::{AuthRefusal, Authenticator};
use blocks::identity::{ISSUER, KeySource};
use blocks::{Caller, Clock, Mediator, Route, Service};
use chrono::TimeDelta;
use events::topic;
use openidconnect::url::Url;
use service::settings::{DATABASE_DIRECT_URL, DATABASE_URL};
use service::{Definition, Identity, Opened, Place, Role, Size, Store};
use sql::{Db, Migration};

pub use domain::{Account, NewAccount, Registration};
pub use error::{AuthError, OpenError};

use attempts::Attempts;
use domain::PASSWORD_BYTES;
use identities::Identities;
use keyring::Keyring;
use mails::{MailLimits, MailSettings, Mails, Sending};
use oidc::Oidc;
use passwords::{Cost, Passwords};
use refresh::RefreshKey;
use replicas::Replicas;
use revocations::{Change, Revocations};

/// The service's name: its folder and schema.
pub const NAME: &str = "auth";

/// The schema, step by step.
pub const MIGRATIONS: &[Migration] = &[
    sql::migration!(
        1001,
        "accounts, sessions, signing keys",
        "0001_accounts.sql"
    ),
    sql::migration!(1002, "changes for other replicas", "0002_changes.sql"),
    sql::migration!(1003, "managing people", "0003_people.sql"),
    sql::migration!(1004, "refresh tokens", "0004_refresh.sql"),
    sql::migration!(1005, "mails to accounts", "0005_mails.sql"),
    sql::migration!(1007, "sign-in by others", "0007_oidc.sql"),
    sql::migration!(1008, "places of logins", "0008_places.sql"),
];

/// The gateway's rule for each endpoint.
pub const ROUTES: &[Route] = &[
    Route::strip(&["POST"], "/api/auth/register"),
    Route::strip(&["POST"], "/api/auth/login"),
    Route::strip(&["POST"], "/api/auth/refresh"),
    // This endpoint reads the token itself.
    Route::strip(&["GET"], "/api/auth/validate"),
    Route::required(&["GET", "PUT", "DELETE"], "/api/auth/me"),
    Route::required(&["POST"], "/api/auth/logout"),
    Route::required(&["PUT"], "/api/auth/password"),
    Route::strip(&["POST"], "/api/auth/password/forgot"),
    Route::strip(&["POST"], "/api/auth/password/reset"),
    Route::strip(&["POST"], "/api/auth/email/verify"),
    Route::required(&["POST"], "/api/auth/email/resend"),
    Route::required(&["GET"], "/api/auth/sessions"),
    Route::required(&["POST"], "/api/auth/sessions/revoke-others"),
    Route::required(&["DELETE"], "/api/auth/sessions/{id}"),
    Route::strip(&["GET"], "/api/auth/oidc/providers"),
    Route::strip(&["GET"], "/api/auth/oidc/{provider}/start"),
    Route::strip(&["GET"], "/api/auth/oidc/{provider}/callback"),
    Route::strip(&["POST"], "/api/auth/oidc/exchange"),
    Route::required(&["GET", "POST"], "/api/v1/users"),
    Route::required(&["GET", "PUT", "DELETE"], "/api/v1/users/{id}"),
    Route::required(&["GET"], "/api/v1/users/{id}/erasure"),
    Route::required(&["GET"], "/api/v1/users/email/{email}"),
    Route::required(&["GET"], "/users"),
    Route::optional(&["POST"], "/users"),
    Route::required(&["GET", "PUT", "DELETE"], "/users/{id}"),
    Route::strip(&["POST"], "/users/login"),
    Route::strip(&["GET"], "/.well-known/jwks.json"),
];

/// In a fleet, a signing key is published for this time before it signs: services ask for the keys every minute.
const KEY_GRACE: TimeDelta = TimeDelta::minutes(2);
/// The audience of access tokens.
const AUDIENCE: &str = "rookery";

/// The settings of auth.
pub struct Settings {
    /// The key that encrypts the stored signing keys.
    pub secret_key: String,
    /// The issuer that tokens name.
    pub issuer: String,
    /// The lifetime of an access token.
    pub token_ttl: TimeDelta,
    /// The lifetime of a refresh token: at least that of an access token.
    pub refresh_ttl: TimeDelta,
    /// The time from a signing key's publication to its first signature: longer than verifiers remember keys.
    pub key_grace: TimeDelta,
    /// The cost of a password hash.
    pub password_cost: Cost,
    /// The number of threads that hash.
    pub hash_threads: usize,
    /// Most passwords that may wait for these threads.
    pub hash_queue: usize,
    /// The fewest bytes of a new password: 8 or more.
    pub password_min_bytes: usize,
    /// The PostgreSQL server, reached past any pooler, if other replicas run. `None` if this is the
    /// only process.
    pub replicas: Option<String>,
    /// Where all replicas count the attempts at accounts. `None` if each counts by itself.
    pub attempts: Option<cache::Store>,
    /// How mails are made and sent.
    pub mails: MailSettings,
    /// True if a signing key is made where there is none. An operator's process makes none.
    pub makes_keys: bool,
    /// Who else signs people in.
    pub oidc: oidc::Settings,
}

impl Settings {
    /// The default settings.
    pub fn new(secret_key: impl Into<String>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            secret_key: secret_key.into(),
            issuer: ISSUER.to_owned(),
            token_ttl: TimeDelta::days(1),
            refresh_ttl: TimeDelta::days(30),
            key_grace: TimeDelta::zero(),
            password_cost: Cost::default(),
            hash_threads: if cores <= 2 { 1 } else { 2 },
            hash_queue: 64,
            password_min_bytes: 8,
            replicas: None,
            attempts: None,
            mails: MailSettings::default(),
            makes_keys: true,
            oidc: oidc::Settings::default(),
        }
    }

    /// Reads the settings of `on`.
    fn at(on: &dyn Place) -> anyhow::Result<Self> {
        let secret = match on.config().get(&SECRET_KEY) {
            Some(secret) => Some(secret),
            None => on.kept_secret()?,
        };
        let secret = secret.context(
            "SECRET_KEY is not set: it encrypts the stored signing keys, and every replica needs the \
             same one; `openssl rand -base64 32` makes a good one",
        )?;
        let direct = || {
            on.needs(&DATABASE_DIRECT_URL)
                .or_else(|_| on.needs(&DATABASE_URL))
        };
        let has_replicas = !on.is_embedded() && on.role() == Role::Serves;
        let replicas = has_replicas.then(direct).transpose()?;
        let token_ttl = TimeDelta::from_std(on.config().get(&ACCESS_TOKEN_SECONDS))
            .context("ACCESS_TOKEN_SECONDS is out of range")?;
        let refresh_ttl = TimeDelta::from_std(on.config().get(&REFRESH_TOKEN_SECONDS))
            .context("REFRESH_TOKEN_SECONDS is out of range")?;
        let key_grace = if on.is_embedded() {
            TimeDelta::zero()
        } else {
            KEY_GRACE
        };
        Ok(Self {
            token_ttl,
            refresh_ttl: refresh_ttl.max(token_ttl),
            key_grace,
            replicas: replicas.map(|url| url.expose().to_owned()),
            #[cfg(feature = "fleet")]
            attempts: if has_replicas { counted_at(on)? } else { None },
            mails: MailSettings::read(on.config())?,
            makes_keys: on.role() == Role::Serves,
            oidc: oidc::Settings::read(on.config(), on.metrics())?,
            password_min_bytes: on.config().get(&PASSWORD_MIN_BYTES),
            ..Self::new(secret.expose())
        })
    }

    /// Checks the secret key, before anything that may have to wait.
    ///
    /// # Errors
    /// When it is too short.
    pub fn check(&self) -> Result<(), OpenError> {
        keyring::check(&self.secret_key)
    }
}

/// The service's state. Cheap to clone.
#[derive(Clone)]
pub struct Auth(Arc<Inner>);

/// The parts of a running auth, reached through [`Auth`].
pub struct Inner {
    db: Db,
    clock: Arc<dyn Clock>,
    issuer: String,
    token_ttl: TimeDelta,
    refresh_ttl: TimeDelta,
    key_grace: TimeDelta,
    keyring: Arc<Keyring>,
    refresh: RefreshKey,
    passwords: Passwords,
    attempts: Attempts,
    revocations: Arc<Revocations>,
    identities: Identities,
    oidc: Oidc,
    replicas: Option<Arc<Replicas>>,
    mails: Mails,
}

impl std::ops::Deref for Auth {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Auth {
    /// Starts auth: reads (or makes) the signing keys, and loads the revocations.
    ///
    /// # Errors
    /// When the secret key is weak or not that of the stored keys, or the store can't be read.
    pub async fn open(
        db: Db,
        settings: Settings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let (secret_key, token_ttl) = (&settings.secret_key, settings.token_ttl);
        let keyring = Keyring::open(&db, secret_key, token_ttl, settings.makes_keys).await?;
        let keyring = Arc::new(keyring);
        let refresh = RefreshKey::new(secret_key);
        let passwords = Passwords::start(
            settings.password_cost,
            settings.hash_threads,
            settings.hash_queue,
            settings.password_min_bytes,
        )?;
        let shared = settings.attempts.as_ref();
        let mails = Mails {
            limits: MailLimits::new(secret_key, &clock, shared),
            settings: settings.mails,
            templates: mails::templates()?,
            bell: Arc::default(),
        };
        let attempts = Attempts::new(secret_key, Arc::clone(&clock), settings.attempts);
        let oidc = Oidc::new(settings.oidc, secret_key)?;
        let now = clock.now();
        let revocations = Arc::new(Revocations::default());
        // Begun before the loading: changes in between come twice.
        let replicas = match settings.replicas {
            Some(url) => {
                let (db, keyring) = (db.clone(), Arc::clone(&keyring));
                let revocations = Arc::clone(&revocations);
                let begun = Replicas::begin(db, url, revocations, keyring).await?;
                Some(Arc::new(begun))
            }
            None => None,
        };
        let mut reader = db.read().await?;
        for (session, until) in store::ended_sessions(&mut reader, now).await? {
            revocations.apply(Change::SessionEnded { session, until }, now);
        }
        for (user_id, time) in store::not_befores(&mut reader, now - token_ttl).await? {
            let until = time + token_ttl;
            revocations.apply(
                Change::SessionsBefore {
                    user_id,
                    time,
                    until,
                },
                now,
            );
        }
        Ok(Self(Arc::new(Inner {
            db,
            clock,
            issuer: settings.issuer,
            token_ttl,
            refresh_ttl: settings.refresh_ttl,
            key_grace: settings.key_grace,
            keyring,
            refresh,
            passwords,
            attempts,
            revocations,
            identities: Identities::default(),
            oidc,
            replicas,
            mails,
        })))
    }

    /// The memory of changes, against which tokens are checked.
    pub fn revocations(&self) -> &Arc<Revocations> {
        &self.revocations
    }

    /// The public keys, for verifying `X-Identity` in the same process.
    pub fn keys(&self) -> Arc<dyn KeySource> {
        Arc::<Keyring>::clone(&self.keyring)
    }
}

impl Mediator for Auth {
    fn service(&self) -> &'static str {
        NAME
    }
}

#[async_trait]
impl Authenticator for Auth {
    async fn authenticate(&self, token: &str) -> Result<Caller, AuthRefusal> {
        self.identify(token)
            .await
            .map(|identity| identity.caller.clone())
    }
}

/// Encrypts the stored signing keys; the same for every replica.
pub const SECRET_KEY: Setting<Option<Secret>> = Setting::key(
    "SECRET_KEY",
    "encrypts the stored signing keys; one process makes its own in `DATA_DIR/secret.key` where this is absent",
);
const ACCESS_TOKEN_SECONDS: Setting<Duration> = Setting::seconds(
    "ACCESS_TOKEN_SECONDS",
    "86400",
    "how long an access token holds",
);

const REFRESH_TOKEN_SECONDS: Setting<Duration> = Setting::seconds(
    "REFRESH_TOKEN_SECONDS",
    "2592000",
    "how long a session lives after its last refresh; at least as long as an access token",
);
const PASSWORD_MIN_BYTES: Setting<usize> = Setting::new(
    "PASSWORD_MIN_BYTES",
    "8",
    "the fewest bytes of a new password",
    "a number of bytes, 8 to 1024",
    |text| {
        text.parse()
            .ok()
            .filter(|least| PASSWORD_BYTES.contains(least))
    },
);

/// Where people reach this site.
pub const PUBLIC_URL: Setting<Option<Url>> = Setting::new(
    "PUBLIC_URL",
    "",
    "where people reach this site, as `https://example.org`; links in mails begin with it, and sign-in by others needs it",
    oidc::settings::ADDRESS,
    |text| match text {
        "" => Some(None),
        text => oidc::settings::address(text).map(Some),
    },
);

const OWN_SETTINGS: config::Settings = &[
    &SECRET_KEY,
    &ACCESS_TOKEN_SECONDS,
    &REFRESH_TOKEN_SECONDS,
    &PASSWORD_MIN_BYTES,
    &PUBLIC_URL,
];

/// Those of auth itself, of its mails, and of sign-in by others.
const PARTS: [config::Settings; 4] = [
    OWN_SETTINGS,
    mail::SETTINGS,
    mails::OWN,
    oidc::settings::OWN,
];

const ALL_SETTINGS: [&dyn AnySetting;
    OWN_SETTINGS.len() + mail::SETTINGS.len() + mails::OWN.len() + oidc::settings::OWN.len()] = {
    let mut all: [&dyn AnySetting; _] = [&SECRET_KEY; _];
    let (mut part, mut at, mut next) = (0, 0, 0);
    while part < PARTS.len() {
        if at < PARTS[part].len() {
            all[next] = PARTS[part][at];
            (at, next) = (at + 1, next + 1);
        } else {
            (part, at) = (part + 1, 0);
        }
    }
    all
};

pub static DEFINITION: Definition = Definition {
    name: NAME,
    about: "Accounts, sessions, and whose a token is.",
    routes: ROUTES,
    topics: &[topic::USERS],
    publishes: &[
        "user.created",
        "user.updated",
        "user.deleted",
        "user.authenticated",
        "user.session_revoked",
    ],
    consumes: &[topic::USERS],
    migrations: MIGRATIONS,
    settings: &ALL_SETTINGS,
    uses: &[Store::Redis],
    signs_with: Some(&SECRET_KEY),
    // Password hashes take 19 MiB each while they are made.
    size: Size {
        cpu_millis: 200,
        memory_mib: 64,
        memory_limit_mib: 384,
        ..Size::USUAL
    },
    ..Definition::new(|on| Box::pin(open(on)))
};

/// The Redis of `on` in which replicas count, if one is named. It is not waited for.
#[cfg(feature = "fleet")]
fn counted_at(on: &dyn Place) -> anyhow::Result<Option<cache::Store>> {
    let Some(url) = on.config().get(&service::settings::REDIS_URL) else {
        return Ok(None);
    };
    let redis = cache::redis::RedisStore::new(url.expose()).map_err(|why| {
        let why = blocks::error::chain(&*why);
        anyhow::anyhow!("REDIS_URL can't be used: {why}: expected redis://:password@host:6379")
    })?;
    Ok(Some(cache::Store::new(redis, attempts::PREFIX)))
}

async fn open(on: &dyn Place) -> anyhow::Result<Opened> {
    let settings = Settings::at(on)?;
    settings.check()?;
    let db = on.database(&DEFINITION).await?;
    let auth = Auth::open(db, settings, Arc::clone(on.clock())).await?;
    Ok(Opened {
        identity: Some(Identity {
            authenticator: Arc::new(auth.clone()),
            keys: auth.keys(),
        }),
        operator: operator::router(auth.clone()),
        ..Opened::of(service(&auth))
    })
}

/// The service over `auth`.
pub fn service(auth: &Auth) -> Service {
    let replicas = auth.replicas.iter().map(|of| Arc::clone(of) as _);
    Service {
        consumers: vec![consumer::group(&auth.db)],
        background: replicas.chain([Sending::of(auth)]).collect(),
        ..DEFINITION.over(&auth.db, api::router(auth.clone()))
    }
}
