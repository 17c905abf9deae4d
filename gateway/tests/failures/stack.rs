//! The processes of the fleet.
//!
//! Everything that is done to them is done by `scripts/stack` or by a signal. They end with this process,
//! however it ends: a shell waits for that and removes everything.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use blocks::bus::EventBus;
use events::header;
use rand::seq::SliceRandom;
use runtime::fleet::kafka::{KafkaBus, Settings};
use serde_json::Value;
use testkit::community::client::Client;
use testkit::community::events::Event;
use testkit::stack::Stack;
use tokio::process::Command;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

/// How long it may take until all is well again after a fault.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// One for all tests. The input of the other process ends with this one.
static STACK: LazyLock<(Stack, Child)> = LazyLock::new(plan);
/// Held by the test that uses the stack.
static TURN: Mutex<()> = Mutex::const_new(());

/// The stack, for one test.
pub struct Fleet {
    stack: &'static Stack,
    _turn: MutexGuard<'static, ()>,
}

impl Deref for Fleet {
    type Target = Stack;

    fn deref(&self) -> &Stack {
        self.stack
    }
}

impl Drop for Fleet {
    /// Prints the end of each log when the test failed.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for part in [self.servers(), self.services()].concat() {
            let log = self.log(part);
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the end of the log of {part}");
            for line in &lines[lines.len().saturating_sub(8)..] {
                eprintln!("{}", line.chars().take(400).collect::<String>());
            }
        }
    }
}

fn plan() -> (Stack, Child) {
    let name = format!("rookery-fleet-{}", std::process::id());
    let folder = std::env::temp_dir().join(name).join("stack");
    let beside = || Path::new(env!("CARGO_BIN_EXE_rookery")).with_file_name("");
    let executables = std::env::var_os("BIN_DIR").map_or_else(beside, PathBuf::from);
    let stack = Stack::new(&folder, &executables).unwrap();
    let end = "cat >/dev/null; scripts/stack wipe; rmdir \"${STACK_DIR%/stack}\"";
    let end = stack
        .command("bash")
        .args(["-c", end])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    (stack, end.unwrap())
}

impl Fleet {
    /// All of it, and all is well.
    pub async fn whole() -> Self {
        let fleet = Self::borrowed().await;
        fleet.script(&["up", "--no-build"]).await;
        fleet.well().await;
        fleet
    }

    /// Nothing runs, nothing is kept.
    pub async fn empty() -> Self {
        let fleet = Self::borrowed().await;
        fleet.script(&["wipe"]).await;
        fs::create_dir_all(fleet.folder("")).unwrap();
        fleet
    }

    async fn borrowed() -> Self {
        let turn = TURN.lock().await;
        Self {
            stack: &STACK.0,
            _turn: turn,
        }
    }

    /// Has `scripts/stack` do something; answers what it prints.
    pub async fn script(&self, arguments: &[&str]) -> String {
        self.run(arguments).await.unwrap()
    }

    /// Starts parts and waits until they answer.
    pub async fn start(&self, parts: &[&str]) {
        self.script(&[&["start"], parts].concat()).await;
    }

    /// Stops parts.
    pub async fn stop(&self, parts: &[&str]) {
        self.script(&[&["stop"], parts].concat()).await;
    }

    /// Starts and stops processes of a service until there are `count`.
    pub async fn scale(&self, service: &str, count: usize) {
        let count = count.to_string();
        self.script(&["scale", service, &count]).await;
        self.well().await;
    }

    /// An SQL statement; answers its rows.
    pub async fn psql(&self, statement: &str) -> String {
        let rows = self.script(&["psql", "-qtAc", statement]).await;
        rows.trim().to_owned()
    }

    /// The schemas of services that have such a table, quoted.
    pub async fn schemas_with(&self, table: &str) -> Vec<String> {
        let schemas =
            format!("select quote_ident(schemaname) from pg_tables where tablename = '{table}'");
        let schemas = self.psql(&schemas).await;
        assert_ne!(schemas, "", "nobody has {table}");
        schemas.lines().map(str::to_owned).collect()
    }

    /// A command of Redis; answers what it says.
    pub async fn redis(&self, command: &[&str]) -> String {
        let said = self.script(&[&["redis-cli"], command].concat()).await;
        said.trim().to_owned()
    }

    /// The number of a part's process.
    pub async fn pid(&self, part: &str) -> u32 {
        self.stack.pid(part).await.unwrap()
    }

    /// `kill -9`.
    pub async fn kill(&self, part: &str) {
        end(self.pid(part).await, "KILL").await;
    }

    /// The environment of a part's process.
    pub async fn environment(&self, part: &str) -> Vec<(String, String)> {
        let pid = self.pid(part).await;
        let environment = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
        let set = environment
            .split('\0')
            .filter_map(|set| set.split_once('='));
        set.map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// Talks to the fleet as everybody does.
    pub fn gateway(&self) -> Client {
        Client::behind_a_gateway(&self.gateway_address())
    }

    /// Talks to one process, past the gateway.
    pub fn direct(&self, part: &str) -> testkit::http::Client {
        testkit::http::Client::new(self.address(part))
    }

    /// The gateway's address.
    pub fn gateway_address(&self) -> String {
        self.address("traefik")
    }

    /// A metric of a process, summed over its labels that contain all of `labels`.
    pub async fn metric(&self, part: &str, name: &str, labels: &[&str]) -> f64 {
        let values = self.metrics(part, name).await;
        let wanted = values
            .iter()
            .filter(|(of, _)| labels.iter().all(|label| of.contains(label)));
        wanted.map(|(_, value)| value).sum()
    }

    /// The services that have such a metric.
    pub async fn services_with(&self, name: &str) -> Vec<&str> {
        let mut services = self.services();
        for service in self.services() {
            if self.metrics(service, name).await.is_empty() {
                services.retain(|other| *other != service);
            }
        }
        assert!(!services.is_empty(), "nobody has {name}");
        services
    }

    /// A metric's labels and values.
    async fn metrics(&self, part: &str, name: &str) -> Vec<(String, f64)> {
        let page = self.direct(part).send("GET", "/metrics", None, None).await;
        let text = page.text();
        let lines = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            let is_it = labels.is_empty() || labels.starts_with('{');
            is_it.then_some((labels.to_owned(), value.parse().ok()?))
        });
        lines.collect()
    }

    /// Waits until the front says that nothing is missing anywhere.
    pub async fn well(&self) {
        let client = self.gateway();
        eventually("all is well", async || {
            let health = client.ask("GET", "/health", None, None).await;
            let health = health
                .ok()
                .and_then(|answer| serde_json::from_slice(&answer.body).ok());
            let health: Value = health.unwrap_or_default();
            if health["status"] == "ok" {
                Ok(())
            } else {
                Err(health.to_string())
            }
        })
        .await;
    }

    /// Everything that lies on a topic.
    pub async fn events(&self, topic: &str) -> Vec<Event> {
        let bus = self.bus();
        let mut events = Vec::new();
        for (partition, watermark) in bus.watermarks(topic).await.unwrap().iter().enumerate() {
            let partition = i32::try_from(partition).unwrap();
            let records = bus
                .read(topic, partition, watermark.oldest, usize::MAX)
                .await;
            events.extend(records.unwrap().iter().map(|record| {
                Event {
                    key: record.key.clone().unwrap(),
                    version: record
                        .headers
                        .iter()
                        .find(|(name, _)| name == header::SEQUENCE)
                        .and_then(|(_, version)| version.parse().ok())
                        .unwrap(),
                    value: serde_json::from_slice::<Value>(&record.value).unwrap(),
                }
            }));
        }
        bus.close().await;
        events
    }

    /// The number of records on dead-letter topics.
    pub async fn dead_letters(&self) -> i64 {
        let bus = self.bus();
        let topics = bus.topics().await.unwrap();
        let topics = topics
            .iter()
            .filter(|topic| topic.name.strip_suffix(".dlq").is_some());
        let (mut known, mut dead_letters) = (0, 0);
        for topic in topics {
            known += 1;
            let watermarks = bus.watermarks(&topic.name).await.unwrap();
            dead_letters += watermarks
                .iter()
                .map(|watermark| watermark.next)
                .sum::<i64>();
        }
        assert!(known > 0, "no dead-letter topic");
        bus.close().await;
        dead_letters
    }

    fn bus(&self) -> KafkaBus {
        KafkaBus::new(Settings::new(self.address("kafka"))).unwrap()
    }
}

/// Sends a signal and waits until the system has forgotten the process.
pub async fn end(pid: u32, signal: &str) {
    let signal = format!("-{signal}");
    let sent = Command::new("kill")
        .args([&signal, &pid.to_string()])
        .status();
    assert!(sent.await.unwrap().success(), "kill {signal} {pid}");
    eventually("the process is gone", async || {
        let process = Path::new("/proc").join(pid.to_string());
        if process.exists() {
            Err(format!("{pid} is there"))
        } else {
            Ok(())
        }
    })
    .await;
}

/// Polls until `look` succeeds; fails with what it saw last when that takes too long.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        match look().await {
            Ok(seen) => return seen,
            Err(seen) => assert!(Instant::now() < end, "did not happen: {what}; {seen}"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// All of these, in another order each time.
pub fn shuffled(mut all: Vec<&str>) -> Vec<&str> {
    all.shuffle(&mut rand::rng());
    all
}
