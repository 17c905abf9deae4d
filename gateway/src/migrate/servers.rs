//! The fleet's stores, opened as its services open them, but without waiting: somebody sits there.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use blocks::SystemClock;
use blocks::bus::{EventBus, TopicSpec};
use blocks::config::{Config, Secret};
use blocks::error::{BoxError, chain};
use blocks::moving::Part;
use blocks::service::Check;
use feed_generator::store::redis::{RedisFeed, RedisSettings};
use posts::store::mongo::{self, Mongo};
use runtime::fleet::kafka::{self, KafkaBus};
use runtime::fleet::server_of;
use sql::{Db, Migration};

/// How long a server may take to answer: some never do what they do not understand.
const PATIENCE: Duration = Duration::from_secs(15);

/// What each setting names.
const NEEDED: &[(&str, &str)] = &[
    (
        "DATABASE_URL",
        "PostgreSQL, as postgres://user:password@127.0.0.1:5432/rookery",
    ),
    (
        "MONGODB_URL",
        "MongoDB, as mongodb://127.0.0.1:27017/rookery",
    ),
    ("REDIS_URL", "Redis, as redis://127.0.0.1:6379"),
    ("KAFKA_BOOTSTRAP_SERVERS", "Kafka, as 127.0.0.1:9092"),
];

/// Says which settings are missing.
///
/// # Errors
/// When one is.
pub(super) fn check_settings(config: &Config) -> anyhow::Result<()> {
    let is_set = [
        database(config).is_some(),
        config.mongodb_url.is_some(),
        config.redis_url.is_some(),
        config.kafka_bootstrap_servers.is_some(),
    ];
    let missing = NEEDED.iter().zip(is_set).filter(|(_, is_set)| !is_set);
    let missing: Vec<String> = missing
        .map(|((name, what), _)| format!("{name} is not set: it names {what}"))
        .collect();
    if !missing.is_empty() {
        bail!("{}", missing.join("; "));
    }
    Ok(())
}

/// The way past a pooler where there is one: migrations need it, and one way is enough.
fn database(config: &Config) -> Option<(&'static str, &Secret)> {
    let direct = config.database_direct_url.as_ref();
    let direct = direct.map(|url| ("DATABASE_DIRECT_URL", url));
    direct.or(config
        .database_url
        .as_ref()
        .map(|url| ("DATABASE_URL", url)))
}

/// The services that keep their data in PostgreSQL.
const IN_POSTGRES: &[(&str, &[Migration])] = &[
    (auth::NAME, auth::MIGRATIONS),
    (user_profile::NAME, user_profile::MIGRATIONS),
    (notification::NAME, notification::MIGRATIONS),
];

/// The fleet's stores.
pub(super) struct Servers {
    databases: Vec<Db>,
    mongo: Mongo,
    redis: RedisFeed,
    bus: KafkaBus,
}

impl Servers {
    /// Opens them, and makes the tables that are missing.
    ///
    /// # Errors
    /// When one can't be used, with the setting that names it.
    pub(super) async fn connect(config: &Config) -> anyhow::Result<Self> {
        let bus = kafka(config).await?;
        let redis = redis(config).await?;
        let mongo = mongo(config).await?;
        let mut databases = Vec::new();
        for (service, migrations) in IN_POSTGRES {
            databases.push(postgres(config, service, migrations).await?);
        }
        Ok(Self {
            databases,
            mongo,
            redis,
            bus,
        })
    }

    /// The log.
    pub(super) fn bus(&self) -> Arc<dyn EventBus> {
        Arc::new(self.bus.clone())
    }

    /// Makes the topics that are missing.
    ///
    /// # Errors
    /// When Kafka can't, or has one with other partitions.
    pub(super) async fn make_topics(&self, topics: &[TopicSpec]) -> anyhow::Result<()> {
        let made = self.bus.ensure_topics(topics).await;
        made.context("could not create the topics (KAFKA_BOOTSTRAP_SERVERS)")
    }

    /// What moves of a file of the folder.
    ///
    /// # Errors
    /// When a database can't be asked, or nobody knows where the file belongs.
    pub(super) async fn parts(&self, from: &Db) -> anyhow::Result<Vec<Part>> {
        let service = from.settings().service;
        match service {
            posts::NAME => Ok(mongo::moving::parts(from, &self.mongo)),
            feed_generator::NAME => Ok(feed_generator::store::redis::moving::parts(
                from,
                &self.redis,
            )),
            _ => {
                let mut databases = self.databases.iter();
                let to = databases.find(|db| db.settings().service == service);
                let to = to.with_context(|| format!("{service} has no place in the fleet"))?;
                let parts = sql::tables::parts(from, to).await;
                parts.with_context(|| format!("could not compare the tables of {service}"))
            }
        }
    }

    /// Ends the connections.
    pub(super) async fn close(self) {
        for db in self.databases {
            db.close().await;
        }
        self.mongo.close().await;
        self.bus.close().await;
    }
}

/// Waits for `answer`, but not for ever; `what` names the server and its setting.
async fn soon<T>(
    what: &str,
    answer: impl Future<Output = Result<T, BoxError>>,
) -> anyhow::Result<T> {
    let why = match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(error)) => chain(&*error),
        Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
    };
    bail!("could not use {what}: {why}")
}

async fn postgres(
    config: &Config,
    service: &'static str,
    migrations: &[Migration],
) -> anyhow::Result<Db> {
    let (setting, url) = database(config).context("DATABASE_URL is not set")?;
    let server = server_of(setting, url.expose())?;
    let settings = sql::Settings {
        keep_inbox: config.kafka_enable_inbox,
        ..sql::Settings::new(service, Arc::new(SystemClock))
    };
    soon(&format!("PostgreSQL at {server} ({setting})"), async {
        Ok(Db::connect_postgres(url.expose(), service, settings, migrations).await?)
    })
    .await
}

async fn mongo(config: &Config) -> anyhow::Result<Mongo> {
    let url = config
        .mongodb_url
        .as_ref()
        .context("MONGODB_URL is not set")?;
    let settings = mongo::Settings {
        service: posts::NAME,
        clock: Arc::new(SystemClock),
        keep_inbox: config.kafka_enable_inbox,
    };
    soon("MongoDB (MONGODB_URL)", async {
        Ok(Mongo::connect(url.expose(), settings).await?)
    })
    .await
}

async fn redis(config: &Config) -> anyhow::Result<RedisFeed> {
    let url = config.redis_url.as_ref().context("REDIS_URL is not set")?;
    let redis = RedisFeed::new(RedisSettings {
        url: url.expose().to_owned(),
        prefix: String::new(),
        clock: Arc::new(SystemClock),
    });
    let redis =
        redis.map_err(|error| anyhow::anyhow!("REDIS_URL can't be used: {}", chain(&*error)))?;
    soon("Redis (REDIS_URL)", redis.check()).await?;
    Ok(redis)
}

async fn kafka(config: &Config) -> anyhow::Result<KafkaBus> {
    let servers = config.kafka_bootstrap_servers.as_ref();
    let servers = servers.context("KAFKA_BOOTSTRAP_SERVERS is not set")?;
    let bus = KafkaBus::new(kafka::Settings::new(servers.as_str())).map_err(|error| {
        anyhow::anyhow!("KAFKA_BOOTSTRAP_SERVERS can't be used: {}", chain(&error))
    })?;
    soon("Kafka (KAFKA_BOOTSTRAP_SERVERS)", async {
        bus.topics().await.map(drop).map_err(BoxError::from)
    })
    .await?;
    Ok(bus)
}
