//! The process under test.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};

use testkit::community::client::Client;

/// How long a start may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A server on a folder. It does not outlive this value.
pub struct Server {
    child: Child,
    address: String,
    log: PathBuf,
}

/// The executable, with nothing from this process' environment.
pub fn rookery(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rookery"));
    command
        .env_clear()
        .env("DATA_DIR", folder.join("data"))
        .kill_on_drop(true);
    command
}

impl Server {
    /// Starts a server and waits until it can serve.
    pub async fn start(folder: &Path) -> Self {
        let log = folder.join("log");
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let child = rookery(folder)
            .arg("serve")
            .envs([("HOST", "127.0.0.1"), ("PORT", "0"), ("LOG_LEVEL", "warn")])
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Self {
            child,
            address: String::new(),
            log,
        };
        let end = Instant::now() + PATIENCE;
        while !server.is_ready(folder).await {
            let ended = server.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {ended:?}\n{}", server.log());
            assert!(Instant::now() < end, "it does not start\n{}", server.log());
            tokio::time::sleep(LOOK_EVERY).await;
        }
        server
    }

    /// The file may still name the address of the one that was killed.
    async fn is_ready(&mut self, folder: &Path) -> bool {
        let Ok(address) = std::fs::read_to_string(folder.join("data/rookery.addr")) else {
            return false;
        };
        address.trim().clone_into(&mut self.address);
        let ready = self.client().send("GET", "/ready", None, None).await;
        ready.is_ok_and(|answer| answer.status == 200)
    }

    /// A client of its own connections.
    pub fn client(&self) -> Client {
        Client::new(&self.address)
    }

    /// `kill -9`.
    pub async fn kill(mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(
            ended.is_none(),
            "it ended by itself: {ended:?}\n{}",
            self.log()
        );
        self.child.kill().await.unwrap();
    }

    /// `SIGTERM`, and exit code 0.
    pub async fn stop(mut self) {
        let process = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args(["-TERM", &process]).status();
        assert!(sent.await.unwrap().success());
        let ended = tokio::time::timeout(PATIENCE, self.child.wait());
        let ended = ended.await.expect("it stops").unwrap();
        assert!(ended.success(), "{ended}\n{}", self.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}
