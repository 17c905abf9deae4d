//! A service's definition: all that others have to know of it.

use std::sync::Arc;

use blocks::config::{AnySetting, Config, PROCESS, Secret, Setting, Settings};
use blocks::{Route, Service};
use events::Topic;
use futures::future::BoxFuture;
use sql::{Db, Migration};
use utoipa_axum::router::OpenApiRouter;

use crate::opened::{DataMigration, Opened};
use crate::place::Place;
use crate::settings;

/// Opens a service at a place.
pub type Open = for<'a> fn(&'a dyn Place) -> BoxFuture<'a, anyhow::Result<Opened>>;

/// Gives the data migration from a service's file into its store at a place.
type OpensMigration =
    for<'a> fn(&'a Definition, &'a dyn Place) -> BoxFuture<'a, anyhow::Result<DataMigration>>;

/// The way to open a service.
#[derive(Clone, Copy)]
pub enum Opens {
    /// By a function of its own.
    By(Open),
    /// Over its database, which is all of its state.
    Over(fn(&Db) -> Service),
}

/// A service. Written as `Definition { name, about, …, ..Definition::on_database(service) }`, or with
/// `..Definition::new(|on| Box::pin(open(on)))` where more is to be opened than a database.
pub struct Definition {
    /// Folder, executable, schema, consumer group, log target: the same word.
    pub name: &'static str,
    /// Its purpose, in one line.
    pub about: &'static str,
    /// The gateway's rule for each endpoint.
    pub routes: &'static [Route],
    /// The topics it publishes to.
    pub topics: &'static [Topic],
    /// The event types it publishes.
    pub publishes: &'static [&'static str],
    /// The topics that its consumer groups read.
    pub consumes: &'static [Topic],
    /// Its schema, step by step.
    pub migrations: &'static [Migration],
    /// The settings that it reads itself; those of its store are added.
    pub settings: Settings,
    /// Present if it checks identities itself, with keys of its own: the setting with the secret that
    /// decrypts them.
    pub signs_with: Option<&'static Setting<Option<Secret>>>,
    /// The kind of its store where it runs alone. In one process that is always a SQLite file.
    pub store: Store,
    /// The servers that it uses beside that one where it runs alone, if their settings name any.
    pub uses: &'static [Store],
    /// The durability that its file needs.
    pub kept: Kept,
    /// The resources that it needs.
    pub size: Size,
    /// The way to open it.
    pub open: Opens,
    /// The function that gives its data migration. It opens the store alone, since an open service may
    /// write to it.
    pub data_migration: OpensMigration,
}

impl Definition {
    /// A service that `open` opens: over SQL, of the usual size, with nothing else yet.
    pub const fn new(open: Open) -> Self {
        Self::opened(Opens::By(open))
    }

    /// The same for a service whose state is its database: `service` makes it over that.
    pub const fn on_database(service: fn(&Db) -> Service) -> Self {
        Self::opened(Opens::Over(service))
    }

    const fn opened(open: Opens) -> Self {
        Self {
            name: "",
            about: "",
            routes: &[],
            topics: &[],
            publishes: &[],
            consumes: &[],
            migrations: &[],
            settings: &[],
            signs_with: None,
            store: Store::Postgres,
            uses: &[],
            kept: Kept::AsConfigured,
            size: Size::USUAL,
            open,
            data_migration: |of, on| Box::pin(tables(of, on)),
        }
    }

    /// Opens it at `on`.
    ///
    /// # Errors
    /// The reason why it can't be opened, naming the setting or the part.
    pub async fn open(&self, on: &dyn Place) -> anyhow::Result<Opened> {
        match self.open {
            Opens::By(open) => open(on).await,
            Opens::Over(service) => Ok(Opened::of(service(&on.database(self).await?))),
        }
    }

    /// The service behind `router` whose state is in `db`: outbox and check are the database's.
    pub fn over(&self, db: &Db, router: OpenApiRouter) -> Service {
        Service {
            outbox: Some(db.outbox()),
            checks: vec![Arc::new(db.clone())],
            ..self.service(router)
        }
    }

    /// The service behind `router`, with nothing else.
    pub fn service(&self, router: OpenApiRouter) -> Service {
        Service {
            name: self.name,
            router,
            routes: self.routes,
            topics: self.topics,
            publishes: self.publishes,
            consumers: Vec::new(),
            outbox: None,
            checks: Vec::new(),
            background: Vec::new(),
        }
    }

    /// Its name in variables: `USER_PROFILE`.
    pub fn variable(&self) -> String {
        self.name.to_uppercase().replace('-', "_")
    }

    /// The secret by which operators sign what they ask of it, and the setting that has it. A service that
    /// signs identities takes its own key: no other service could pass for an operator there.
    pub fn operator_secret(&self, config: &Config) -> (&'static str, Option<Secret>) {
        let setting = self.signs_with.unwrap_or(&settings::OPERATOR_KEY);
        (setting.name, config.get(setting))
    }

    /// The settings of its process where it runs alone, without those that every process has.
    pub fn alone(&self) -> Vec<&'static dyn AnySetting> {
        let servers = self.servers().flat_map(Store::settings);
        let all = settings::FLEET.iter().chain(servers).chain(self.settings);
        all.copied().collect()
    }

    /// Its store, and the servers that it uses beside that.
    pub fn servers(&self) -> impl Iterator<Item = Store> {
        [self.store].into_iter().chain(self.uses.iter().copied())
    }
}

/// The data migration of a service whose state is in SQL tables.
async fn tables(of: &Definition, on: &dyn Place) -> anyhow::Result<DataMigration> {
    let to = on.database(of).await?;
    Ok(Box::new(move |from| {
        let to = to.clone();
        Box::pin(async move { Ok(sql::tables::parts(&from, &to).await?) })
    }))
}

/// All settings of a process with all services of `roster`, and of the command line over their fleet.
pub fn of_all(roster: &[&Definition]) -> Vec<&'static dyn AnySetting> {
    let services = roster.iter().flat_map(|of| of.settings.iter().copied());
    let servers = roster.iter().flat_map(|of| of.servers());
    let stores = servers.flat_map(|server| server.settings().iter().copied());
    let mut all: Vec<&'static dyn AnySetting> = PROCESS.to_vec();
    for setting in services
        .chain(stores)
        .chain(settings::FLEET.iter().copied())
    {
        if all.iter().all(|known| known.name() != setting.name()) {
            all.push(setting);
        }
    }
    all
}

/// The kind of a service's store where it runs alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// A schema of a PostgreSQL server.
    Postgres,
    /// A database of a MongoDB server.
    Mongo,
    /// A Redis server.
    Redis,
}

impl Store {
    /// The settings with its address and credentials.
    pub fn settings(self) -> Settings {
        match self {
            Self::Postgres => settings::POSTGRES,
            Self::Mongo => settings::MONGO,
            Self::Redis => settings::REDIS,
        }
    }

    /// The setting without which it can't be found.
    pub fn url(self) -> &'static Setting<Option<Secret>> {
        match self {
            Self::Postgres => &settings::DATABASE_URL,
            Self::Mongo => &settings::MONGODB_URL,
            Self::Redis => &settings::REDIS_URL,
        }
    }

    /// The server's name in `scripts/stack`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mongo => "mongo",
            Self::Redis => "redis",
        }
    }
}

/// The durability that a service's file needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It holds the only copy: as durable as `SQLITE_DURABILITY` says.
    AsConfigured,
    /// Lost data is made again from the log.
    Rebuildable,
}

/// The resources of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// CPU request, in thousandths of a core.
    pub cpu_millis: u32,
    /// Memory request, in MiB.
    pub memory_mib: u32,
    /// Memory limit, in MiB, above which it is ended.
    pub memory_limit_mib: u32,
    /// The most replicas.
    pub most_replicas: u32,
}

impl Size {
    /// A service that reads and writes rows.
    pub const USUAL: Self = Self {
        cpu_millis: 100,
        memory_mib: 48,
        memory_limit_mib: 256,
        most_replicas: 10,
    };
}
