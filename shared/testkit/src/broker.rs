//! A Kafka broker of a test's own, which may be stopped, frozen and started again. It takes
//! `scripts/kafka`, so Java.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::ports::free_ports;

/// A broker's process; see the module. It ends with the value.
pub struct Broker {
    folder: TempDir,
    port: u16,
    /// Its address, as `host:port`.
    pub address: String,
}

impl Broker {
    /// Starts one on ports that are free now.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut broker = Self {
            folder,
            port: free_ports(2),
            address: String::new(),
        };
        broker.address = broker.up();
        broker
    }

    /// Starts it again, on its stored data.
    pub fn up(&self) -> String {
        self.script("up")
    }

    /// Stops the broker in order.
    pub fn stop(&self) {
        self.script("stop");
    }

    /// Kills the broker.
    pub fn kill(&self) {
        self.signal("-KILL");
        // Nothing is left to be stopped; this waits until it has gone.
        self.stop();
    }

    /// Lets it stand still, with all connections open.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.script("pid");
        let done = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(done.success(), "kill {signal} {pid}");
    }

    fn script(&self, command: &str) -> String {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scripts/kafka");
        // Files that this process has open (a lock that it runs under) are closed for the broker, which may
        // outlive it.
        let close = r#"for fd in /proc/$$/fd/*; do
            fd=${fd##*/}; [ "$fd" -le 2 ] || eval "exec $fd>&-"
        done; exec "$0" "$@""#;
        let done = Command::new("bash")
            .args(["-c", close])
            .arg(script)
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
