//! Processes that are measured: each on a port of its own, gone when it is dropped.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use hyper::StatusCode;
use testkit::ports::free_port;
use tokio::process::{Child, Command};

use crate::Plan;
use crate::client::{Client, get};
use crate::machine::{self, Memory};

/// The longest wait for a process to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// The pause between two requests until then.
const ASK_EVERY: Duration = Duration::from_millis(1);

/// A running process that answers HTTP.
pub struct Server {
    /// Ended with it; `None` for one that somebody else started.
    child: Option<Child>,
    pid: Option<u32>,
    pub address: SocketAddr,
    /// From its start to its first answer.
    pub first_answer: Duration,
}

impl Server {
    /// Starts `rookery` over the data in `folder`, with nothing but defaults. Its log goes to a file
    /// there, as a server's log goes somewhere.
    pub async fn rookery(plan: &Plan, folder: &Path) -> anyhow::Result<Self> {
        let port = free_port();
        let mut command = Command::new(&plan.rookery);
        command
            .current_dir(folder)
            .env("HOST", Ipv4Addr::LOCALHOST.to_string())
            .env("PORT", port.to_string())
            .env("DATA_DIR", folder.join("data"));
        Self::start(command, port, "/health", &folder.join("rookery.log")).await
    }

    /// Starts a limit of this benchmark: `what` with its arguments. It logs as rookery does.
    pub async fn limit(folder: &Path, what: &[&str]) -> anyhow::Result<Self> {
        let port = free_port();
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("limits")
            .args(what)
            .args(["--port", &port.to_string()]);
        Self::start(command, port, "/", &folder.join("limit.log")).await
    }

    /// Starts `command`, which is to listen on `port`, and waits until it answers 200 at `path`.
    pub async fn start(
        mut command: Command,
        port: u16,
        path: &str,
        log: &Path,
    ) -> anyhow::Result<Self> {
        let output = File::options().create(true).append(true).open(log)?;
        // Variables of the shell must not change the result.
        let path_variable = std::env::vars_os().find(|(name, _)| name == "PATH");
        let given: Vec<_> = command
            .as_std()
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        command
            .env_clear()
            .envs(path_variable)
            .envs(given)
            .stdin(Stdio::piped())
            .stderr(output.try_clone()?)
            .stdout(output)
            .kill_on_drop(true);
        let started = Instant::now();
        let mut child = command.spawn().context("could not start a process")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let health = get(path)?;
        loop {
            if let Ok(mut client) = Client::connect(address).await
                && let Ok(answer) = client.send(&health).await
                && answer.status() == StatusCode::OK
            {
                break;
            }
            let ended = child.try_wait()?;
            if ended.is_some() || started.elapsed() > PATIENCE {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                anyhow::bail!("a process does not answer ({ended:?}); it said:\n{said}");
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
        Ok(Self {
            pid: child.id(),
            child: Some(child),
            address,
            first_answer: started.elapsed(),
        })
    }

    /// One that runs already, and goes on.
    #[cfg(feature = "fleet")]
    pub fn running(address: SocketAddr, pid: u32) -> Self {
        Self {
            child: None,
            pid: Some(pid),
            address,
            first_answer: Duration::ZERO,
        }
    }

    /// Its address as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A new connection.
    pub async fn connect(&self) -> anyhow::Result<Client> {
        Client::connect(self.address).await
    }

    /// The processor time it has used.
    pub fn processor_time(&self) -> Option<Duration> {
        machine::processor_time(self.pid?)
    }

    /// The memory of the process.
    pub fn memory(&self) -> Option<Memory> {
        machine::memory(self.pid?)
    }

    /// Ends it the hard way, and waits until it is gone.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        match &mut self.child {
            Some(child) => child.kill().await.context("could not end a process"),
            None => Ok(()),
        }
    }
}
