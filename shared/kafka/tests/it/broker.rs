//! A broker of a test's own, which may be stopped, frozen and started again.

use std::path::PathBuf;
use std::process::Command;

use kafka::{KafkaBus, Settings};
use tempfile::TempDir;

/// See the module. It ends with the value.
pub(crate) struct Broker {
    folder: TempDir,
    port: u16,
    pub(crate) address: String,
}

impl Broker {
    /// Starts one on ports that are free now.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut broker = Self {
            folder,
            port: two_free_ports(),
            address: String::new(),
        };
        broker.address = broker.up();
        broker
    }

    /// A bus over it that gives up soon.
    pub(crate) fn bus(&self) -> KafkaBus {
        KafkaBus::new(Settings {
            patience: std::time::Duration::from_secs(2),
            ..Settings::new(&self.address)
        })
        .unwrap()
    }

    /// Starts it again, on what it kept.
    pub(crate) fn up(&self) -> String {
        self.script("up")
    }

    /// Stops it.
    pub(crate) fn stop(&self) {
        self.script("stop");
    }

    /// Ends it without a word.
    pub(crate) fn kill(&self) {
        self.signal("-KILL");
        // Nothing is left to be stopped; this waits until it has gone.
        self.stop();
    }

    /// Lets it stand still, with all connections open.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.script("pid");
        let done = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(done.success(), "kill {signal} {pid}");
    }

    fn script(&self, command: &str) -> String {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scripts/kafka");
        let done = Command::new(script)
            .arg(command)
            .env("KAFKA_TEST_DIR", self.folder.path().join("kafka"))
            .env("KAFKA_TEST_PORT", self.port.to_string())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "scripts/kafka {command}: {said}");
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.script("down");
    }
}

/// A port that is free, and so is the next one.
fn two_free_ports() -> u16 {
    let bind = |port| std::net::TcpListener::bind(("127.0.0.1", port));
    for _ in 0..100 {
        let first = bind(0).unwrap();
        let port = first.local_addr().unwrap().port();
        if port < u16::MAX && bind(port + 1).is_ok() {
            return port;
        }
    }
    panic!("no two free ports beside each other");
}
