//! A Kafka broker of a test's own, which may be stopped, frozen and started again. It takes
//! `scripts/kafka`, so Java.

use std::process::Command;

use crate::own::Own;

/// A broker's process; see the module. It ends with the value.
pub struct Broker {
    /// Its files and ports.
    pub own: Own,
    /// Its address, as `host:port`.
    pub address: String,
}

impl Broker {
    /// Starts one on ports that are free now.
    pub fn start() -> Self {
        let own = Own::new("kafka", 2);
        let address = own.run(&["up"]);
        Self { own, address }
    }

    /// Starts one that has two more ports, see [`Self::with_password`] and [`Self::with_certificate`].
    pub fn start_secure() -> Self {
        let own = Own::new("kafka", 4);
        let address = own.run(&["up", "--tls"]);
        Self { own, address }
    }

    /// Where it wants TLS and a password: that of `rookery` is `secret`.
    pub fn with_password(&self) -> String {
        format!("127.0.0.1:{}", self.own.port + 2)
    }

    /// Where it wants TLS and a client's certificate.
    pub fn with_certificate(&self) -> String {
        format!("127.0.0.1:{}", self.own.port + 3)
    }

    /// Starts it again, on its stored data.
    pub fn up(&self) -> String {
        self.own.run(&["up"])
    }

    /// Stops the broker in order.
    pub fn stop(&self) {
        self.own.run(&["stop"]);
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
        let pid = self.own.run(&["pid"]);
        let done = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(done.success(), "kill {signal} {pid}");
    }
}
