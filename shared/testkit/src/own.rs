//! A server of a test's own, started and stopped by its script in `scripts/`.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::ports::free_ports;

/// A server that the script of its name starts. It ends with the value.
pub struct Own {
    script: &'static str,
    folder: TempDir,
    /// The first of its ports.
    pub port: u16,
}

impl Own {
    /// For a server that takes `ports` free ports in a row.
    pub fn new(script: &'static str, ports: u16) -> Self {
        Self {
            script,
            folder: tempfile::tempdir().unwrap(),
            port: free_ports(ports),
        }
    }

    /// Runs a command of the script; answers with what it printed.
    ///
    /// # Panics
    /// When it fails, with what it said.
    pub fn run(&self, command: &[&str]) -> String {
        let scripts = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scripts");
        // Files that this process has open (a lock that it runs under) are closed for the server, which may
        // outlive it.
        let close = r#"for fd in /proc/$$/fd/*; do
            fd=${fd##*/}; [ "$fd" -le 2 ] || eval "exec $fd>&-"
        done; exec "$0" "$@""#;
        let of = self.script.to_uppercase();
        let done = Command::new("bash")
            .args(["-c", close])
            .arg(scripts.join(self.script))
            .args(command)
            .env(format!("{of}_TEST_DIR"), self.folder())
            .env(format!("{of}_TEST_PORT"), self.port.to_string())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(
            done.status.success(),
            "scripts/{} {command:?}: {said}",
            self.script
        );
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    /// Where it keeps its files.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().join(self.script)
    }

    /// A file that `up --tls` makes: `ca.pem`, `client.pem`, `client.key`, `client-and-key.pem`, and
    /// `stranger.pem` of an authority that signed none of them.
    pub fn certificate(&self, name: &str) -> PathBuf {
        self.folder().join("certs").join(name)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.run(&["down"]);
    }
}
