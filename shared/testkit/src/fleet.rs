//! Services as processes of their own, over servers of their own.

use std::fs::File;
use std::net::TcpListener;
use std::process::{ExitStatus, Stdio};

use blocks::{Clock, SystemClock};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::db::TEST_DATABASE_URL;
use crate::http::{Client, eventually};

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
    /// Where it will be.
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

    /// Makes it.
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

/// A port that nobody listens on now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// A service's process. It is killed with the value.
pub struct Alone {
    child: Child,
    folder: TempDir,
    /// Talks to it.
    pub client: Client,
}

impl Alone {
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

    /// Waits until it says that it can serve.
    pub async fn ready(&self) -> &Self {
        eventually("it is ready", async || {
            let answer = self.client.send("GET", "/ready", None, None).await;
            (answer.status == 200).then_some(())
        })
        .await;
        self
    }

    /// What it wrote so far.
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

    /// Asks it to stop, and waits until it did.
    pub async fn stop(mut self) -> ExitStatus {
        let pid = self.child.id().unwrap().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status().await;
        assert!(asked.unwrap().success());
        self.child.wait().await.unwrap()
    }

    /// Ends it without a word.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}
