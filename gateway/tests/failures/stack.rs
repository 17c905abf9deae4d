//! The processes of the fleet.
//!
//! Whatever is done to them is done by `scripts/stack` or by a signal. They end with this process,
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
use testkit::ports::free_ports;
use tokio::process::Command;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

/// The services of the fleet.
pub const SERVICES: [&str; 5] = [
    "auth",
    "user-profile",
    "posts",
    "feed-generator",
    "notification",
];
/// The servers below them.
pub const SERVERS: [&str; 4] = ["postgres", "redis", "kafka", "mongo"];

/// How long it may take until all is well again after a fault.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The ports that `scripts/stack` wants to be told. Kafka takes the one above its own as well.
const PORTS: [&str; 13] = [
    "GATEWAY",
    "GATEWAY_TLS",
    "DASHBOARD",
    "POSTGRES",
    "REDIS",
    "MONGO",
    "FRONT",
    "AUTH",
    "USER_PROFILE",
    "POSTS",
    "FEED_GENERATOR",
    "NOTIFICATION",
    "KAFKA",
];

/// One for all tests.
static STACK: LazyLock<Stack> = LazyLock::new(Stack::plan);
/// Who has it now.
static TURN: Mutex<()> = Mutex::const_new(());

/// A stack in a folder of its own.
pub struct Stack {
    folder: PathBuf,
    first_port: u16,
    /// Where services are kept.
    executables: PathBuf,
    /// Its input ends with this process.
    _end: Child,
}

/// The stack, for one test.
pub struct Fleet {
    stack: &'static Stack,
    _turn: MutexGuard<'static, ()>,
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
        fs::create_dir_all(&fleet.folder).unwrap();
        fleet
    }

    async fn borrowed() -> Self {
        let turn = TURN.lock().await;
        Self {
            stack: &STACK,
            _turn: turn,
        }
    }
}

impl Deref for Fleet {
    type Target = Stack;

    fn deref(&self) -> &Stack {
        self.stack
    }
}

impl Drop for Fleet {
    /// What the processes said, for whoever looks for the reason.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for part in SERVERS.iter().chain(&SERVICES) {
            let log = self.log(part);
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the end of the log of {part}");
            for line in &lines[lines.len().saturating_sub(8)..] {
                eprintln!("{}", line.chars().take(400).collect::<String>());
            }
        }
    }
}

fn told_executables() -> Option<PathBuf> {
    std::env::var_os("BIN_DIR").map(PathBuf::from)
}

impl Stack {
    fn plan() -> Self {
        let name = format!("rookery-fleet-{}", std::process::id());
        let folder = std::env::temp_dir().join(name).join("stack");
        let beside = Path::new(env!("CARGO_BIN_EXE_rookery")).parent().unwrap();
        let executables = told_executables().unwrap_or_else(|| beside.to_owned());
        let first_port = free_ports(u16::try_from(PORTS.len()).unwrap() + 1);
        let mut end = std::process::Command::new("bash");
        end.args([
            "-c",
            "cat >/dev/null; scripts/stack wipe; rmdir \"${STACK_DIR%/stack}\"",
        ]);
        set_up(&mut end, &folder, first_port, &executables);
        let end = end
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self {
            folder,
            first_port,
            executables,
            _end: end.unwrap(),
        }
    }

    /// Has `scripts/stack` do something; answers what it prints.
    pub async fn script(&self, arguments: &[&str]) -> String {
        let mut command = std::process::Command::new("scripts/stack");
        command.args(arguments).stdin(Stdio::null());
        set_up(
            &mut command,
            &self.folder,
            self.first_port,
            &self.executables,
        );
        let output = Command::from(command).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "scripts/stack {arguments:?}: {said}"
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts parts and waits until they answer.
    pub async fn start(&self, parts: &[&str]) {
        self.script(&[&["start"], parts].concat()).await;
    }

    /// Stops parts.
    pub async fn stop(&self, parts: &[&str]) {
        self.script(&[&["stop"], parts].concat()).await;
    }

    /// Sees to it that there are so many processes of a service.
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

    /// A command of Redis; answers what it says.
    pub async fn redis(&self, command: &[&str]) -> String {
        let said = self.script(&[&["redis-cli"], command].concat()).await;
        said.trim().to_owned()
    }

    /// The number of a part's process.
    pub async fn pid(&self, part: &str) -> u32 {
        let name = part.replace('-', "_").to_uppercase();
        let all = self.script(&["env"]).await;
        let pid = all
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name}_PID=")))
            .and_then(|pid| pid.parse().ok());
        pid.unwrap_or_else(|| panic!("{part} does not run: {all}"))
    }

    /// `kill -9`.
    pub async fn kill(&self, part: &str) {
        let pid = self.pid(part).await;
        end(pid, "KILL").await;
    }

    /// The port of a part; replicas keep theirs in a file.
    pub fn port(&self, part: &str) -> u16 {
        let name = part.replace('-', "_").to_uppercase();
        if let Some(number) = PORTS.iter().position(|known| *known == name) {
            return self.first_port + u16::try_from(number).unwrap();
        }
        let kept = fs::read_to_string(self.folder.join(part).join("port"));
        kept.unwrap().trim().parse().unwrap()
    }

    /// Talks to the fleet as everybody does.
    pub fn gateway(&self) -> Client {
        Client::behind_a_gateway(&self.gateway_address())
    }

    /// Talks to one process, past the gateway.
    pub fn direct(&self, part: &str) -> testkit::http::Client {
        testkit::http::Client::new(self.address(part))
    }

    /// Where everybody talks to it.
    pub fn gateway_address(&self) -> String {
        self.address("GATEWAY")
    }

    fn address(&self, part: &str) -> String {
        format!("127.0.0.1:{}", self.port(part))
    }

    /// Where a part keeps its things. PostgreSQL's may be elsewhere.
    pub fn folder(&self, part: &str) -> PathBuf {
        self.folder.join(part)
    }

    /// What a part wrote so far.
    pub fn log(&self, part: &str) -> String {
        fs::read_to_string(self.folder(part).join("log")).unwrap_or_default()
    }

    /// A metric of a process, summed over its labels that contain all of `labels`.
    pub async fn metric(&self, part: &str, name: &str, labels: &[&str]) -> f64 {
        let page = self.direct(part).send("GET", "/metrics", None, None).await;
        let text = page.text();
        let lines = text.lines().filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        });
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum()
    }

    /// Waits until the front says that nothing is missing anywhere.
    pub async fn well(&self) {
        let client = self.gateway();
        eventually("all is well", async || {
            let health = client.ask("GET", "/health", None, None).await;
            let health = health.map(|answer| answer.body).unwrap_or_default();
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
        for (partition, extent) in bus.extents(topic).await.unwrap().iter().enumerate() {
            let partition = i32::try_from(partition).unwrap();
            let records = bus.read(topic, partition, extent.oldest, usize::MAX).await;
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

    /// How many records lie on dead-letter topics.
    pub async fn dead_letters(&self) -> i64 {
        let bus = self.bus();
        let topics = bus.topics().await.unwrap();
        let topics = topics
            .iter()
            .filter(|topic| topic.name.strip_suffix(".dlq").is_some());
        let (mut known, mut letters) = (0, 0);
        for topic in topics {
            known += 1;
            let extents = bus.extents(&topic.name).await.unwrap();
            letters += extents.iter().map(|extent| extent.next).sum::<i64>();
        }
        assert!(known > 0, "no dead-letter topic");
        bus.close().await;
        letters
    }

    fn bus(&self) -> KafkaBus {
        KafkaBus::new(Settings::new(self.address("KAFKA"))).unwrap()
    }
}

/// A command of the project's folder that is about this stack.
fn set_up(command: &mut std::process::Command, folder: &Path, first_port: u16, executables: &Path) {
    command
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .env("STACK_DIR", folder)
        .env("BIN_DIR", executables);
    for (port, name) in (first_port..).zip(PORTS) {
        command.env(format!("STACK_{name}_PORT"), port.to_string());
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

/// Looks until it is so; says what was seen last when it does not come to that.
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
pub fn shuffled<const N: usize>(all: [&'static str; N]) -> Vec<&'static str> {
    let mut all = all.to_vec();
    all.shuffle(&mut rand::rng());
    all
}
