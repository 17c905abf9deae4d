//! Services as processes of their own, over servers of their own.

use std::fs::File;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use blocks::{Clock, SystemClock};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::db::TEST_DATABASE_URL;
use crate::http::{Client, eventually};
use crate::ports::free_port;

/// Names a Kafka broker for tests.
pub const TEST_KAFKA: &str = "TEST_KAFKA";

/// The broker that [`TEST_KAFKA`] names.
///
/// # Panics
/// When the variable is absent: such a test is `#[ignore = "needs TEST_KAFKA"]`.
#[expect(
    clippy::disallowed_methods,
    reason = "the harness is told where the broker is"
)]
pub fn brokers() -> String {
    std::env::var(TEST_KAFKA).expect("TEST_KAFKA names a broker for this test")
}

/// A PostgreSQL database that does not exist yet.
pub struct Database {
    server: String,
    name: String,
    /// Its future address.
    pub url: String,
}

impl Database {
    /// On the server that [`TEST_DATABASE_URL`] names.
    ///
    /// # Panics
    /// When the variable is absent.
    #[expect(
        clippy::disallowed_methods,
        reason = "the harness is told where the server is"
    )]
    pub fn planned() -> Self {
        let server = std::env::var(TEST_DATABASE_URL)
            .expect("TEST_DATABASE_URL names a PostgreSQL server for this test");
        let name = format!("t_{}", SystemClock.id().simple());
        let (host, _) = server.rsplit_once('/').unwrap();
        Self {
            url: format!("{host}/{name}"),
            server,
            name,
        }
    }

    /// Creates the database.
    pub async fn create(&self) {
        let mut server = PgConnection::connect(&self.server).await.unwrap();
        let create = format!("create database {}", self.name);
        server.execute(AssertSqlSafe(create)).await.unwrap();
        server.close().await.unwrap();
    }

    /// One that is there.
    pub async fn fresh() -> Self {
        let database = Self::planned();
        database.create().await;
        database
    }
}

/// A role that the server lets in with its password only. `scripts/postgres` and `scripts/stack` make
/// servers that ask those for it who are in `with_password`, and nobody else.
pub struct PasswordRole {
    database: String,
    name: String,
}

impl PasswordRole {
    /// One that may do everything in `database`.
    ///
    /// # Panics
    /// When the server lets it in without a password: a test would show nothing.
    pub async fn fresh(database: &Database) -> Self {
        let role = Self {
            database: database.url.clone(),
            name: format!("r_{}", SystemClock.id().simple()),
        };
        let group = "do $$ begin create role with_password; \
            exception when duplicate_object or unique_violation then null; end $$";
        role.run(group).await;
        let name = &role.name;
        role.run(&format!(
            "create role {name} login superuser in role with_password password '{name}'"
        ))
        .await;
        let wrong = PgConnection::connect(&role.url("wrong")).await;
        assert!(
            wrong.is_err(),
            "{TEST_DATABASE_URL} lets in whoever comes: its pg_hba.conf needs a first line \
             `host all +with_password all scram-sha-256`"
        );
        role
    }

    /// The database as this role reaches it with `password`.
    pub fn url(&self, password: &str) -> String {
        let (scheme, rest) = self.database.split_once("://").unwrap();
        let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
        format!("{scheme}://{}:{password}@{rest}", self.name)
    }

    /// Gives it another one.
    pub async fn change_password(&self, password: &str) {
        let name = &self.name;
        self.run(&format!("alter role {name} password '{password}'"))
            .await;
    }

    async fn run(&self, statement: &str) {
        let mut server = PgConnection::connect(&self.database).await.unwrap();
        let statement = AssertSqlSafe(statement.to_owned());
        server.execute(statement).await.unwrap();
        server.close().await.unwrap();
    }
}

/// An address where nothing listens.
pub const NOWHERE: &str = "127.0.0.1:1";

/// A kind of store.
#[derive(Debug, Clone, Copy)]
pub struct Store {
    /// The setting with its URL.
    pub setting: &'static str,
    /// Variable with a server for tests.
    pub server: &'static str,
    /// Its URL on the server `{}`.
    pub url: &'static str,
}

/// The server of services that keep their state in SQL.
pub const POSTGRES: Store = Store {
    setting: "DATABASE_URL",
    server: TEST_DATABASE_URL,
    url: "postgres://ada:hidden@{}/rookery",
};

impl Store {
    /// Its URL on the server at `address`.
    pub fn at(&self, address: &str) -> String {
        self.url.replace("{}", address)
    }
}

/// The executable of a service, and the settings that it needs besides Kafka.
#[derive(Debug, Clone, Copy)]
pub struct Executable<'a> {
    /// The executable's path.
    pub path: &'static str,
    /// The kind of its store.
    pub store: Store,
    /// One more setting, with a valid value.
    pub another: (&'static str, &'a str),
}

impl Executable<'_> {
    /// The same with another value for the one setting more.
    pub fn with<'b>(&self, value: &'b str) -> Executable<'b> {
        Executable {
            another: (self.another.0, value),
            ..*self
        }
    }

    /// All that it needs.
    pub fn settings<'s>(&'s self, store: &'s str, kafka: &'s str) -> [(&'s str, &'s str); 3] {
        [
            self.another,
            (self.store.setting, store),
            ("KAFKA_BOOTSTRAP_SERVERS", kafka),
        ]
    }

    /// Starts it over these servers.
    pub async fn start(&self, store: &str, kafka: &str) -> Standalone {
        Standalone::start(self.path, &self.settings(store, kafka)).await
    }

    /// Starts it over PostgreSQL, with a password that the server refuses. Asserts that it goes on, logs
    /// the refusal without the password, and is ready once the server takes it.
    pub async fn waits_for_its_password(&self) {
        let role = PasswordRole::fresh(&Database::fresh().await).await;
        let service = self.start(&role.url("wrong-hidden"), NOWHERE).await;
        service
            .says(&["(DATABASE_URL)", "password authentication failed"])
            .await;
        assert!(!service.output().contains("hidden"), "{}", service.output());
        role.change_password("wrong-hidden").await;
        service.ready().await;
        assert_eq!(service.stop().await.code(), Some(0));
    }

    /// The error when it does not start, with `name` absent or changed.
    ///
    /// # Panics
    /// When it starts.
    pub async fn refusal(
        &self,
        settings: &[(&str, &str)],
        name: &str,
        value: Option<&str>,
    ) -> String {
        let mut command = Command::new(self.path);
        command.env_clear().env("PORT", "0").kill_on_drop(true);
        command.envs(settings.iter().copied()).env_remove(name);
        command.envs(value.map(|value| (name, value)));
        let ended = tokio::time::timeout(Duration::from_secs(20), command.output()).await;
        let ended = ended.unwrap_or_else(|_| panic!("it goes on with {name}={value:?}"));
        let ended = ended.unwrap();
        assert_eq!(ended.status.code(), Some(1), "{name}={value:?}");
        String::from_utf8(ended.stderr).unwrap()
    }

    /// Asserts that it does not start with a setting missing, or with one of `malformed`. The error must
    /// name the setting, and never quote the `hidden` part of its value.
    pub async fn stops_and_names(&self, malformed: &[(&str, &str)]) {
        let store = self.store.at(NOWHERE);
        let settings = self.settings(&store, NOWHERE);
        for (missing, _) in &settings {
            let said = self.refusal(&settings, missing, None).await;
            assert!(said.contains(missing), "{missing}: {said}");
        }
        for (name, value) in malformed {
            let said = self.refusal(&settings, name, Some(value)).await;
            assert!(said.contains(name), "{name}={value}: {said}");
            assert!(!said.contains("hidden"), "{name}={value}: {said}");
        }
    }
}

/// A service's process. It is killed with the value.
pub struct Standalone {
    child: Child,
    folder: TempDir,
    /// Talks to it.
    pub client: Client,
}

impl Standalone {
    /// Starts `executable` with these settings and nothing else of the environment, and waits until it
    /// answers at all.
    pub async fn start(executable: &str, settings: &[(&str, &str)]) -> Self {
        let port = free_port();
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| File::create(folder.path().join(name)).unwrap();
        let child = Command::new(executable)
            .env_clear()
            .env("PORT", port.to_string())
            .envs(settings.iter().copied())
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(file("out"))
            .stderr(file("err"))
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut started = Self {
            child,
            folder,
            client: Client::new(format!("127.0.0.1:{port}")),
        };
        eventually("it answers", async || {
            if let Some(ended) = started.child.try_wait().unwrap() {
                panic!("{ended}: {}", started.output());
            }
            let request = started.client.request("GET", "/health").body("").unwrap();
            started.client.try_give(request).await.ok()
        })
        .await;
        started
    }

    /// Waits until it is ready to serve.
    pub async fn ready(&self) -> &Self {
        eventually("it is ready", async || {
            let answer = self.client.send("GET", "/ready", None, None).await;
            (answer.status == 200).then_some(())
        })
        .await;
        self
    }

    /// Waits until it has written all of `parts`.
    pub async fn says(&self, parts: &[&str]) {
        eventually("it says so", async || {
            let said = self.output();
            parts.iter().all(|part| said.contains(part)).then_some(())
        })
        .await;
    }

    /// The output so far.
    pub fn output(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.folder.path().join(name));
        read("out").unwrap_or_default() + &read("err").unwrap_or_default()
    }

    /// A metric, summed over its labels that contain `labels`.
    pub async fn metric(&self, name: &str, labels: &str) -> f64 {
        let page = self.client.send("GET", "/metrics", None, None).await.text();
        let lines = page.lines().filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.contains(labels))
        });
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum()
    }

    /// Freezes it, with all connections open.
    pub async fn freeze(&self) {
        self.signal("-STOP").await;
    }

    /// Lets it run again.
    pub async fn thaw(&self) {
        self.signal("-CONT").await;
    }

    /// Asks it to stop, and waits until it did.
    pub async fn stop(mut self) -> ExitStatus {
        self.signal("-TERM").await;
        self.child.wait().await.unwrap()
    }

    async fn signal(&self, signal: &str) {
        let pid = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().await;
        assert!(sent.unwrap().success(), "kill {signal} {pid}");
    }

    /// Kills it.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}
