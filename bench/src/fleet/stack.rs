//! The servers and services, by way of `scripts/stack`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context;
use testkit::ports::{free_port, free_ports};
use tokio::process::Command;

use crate::Plan;
use crate::server::Server;

/// The ports that `scripts/stack` knows; `KAFKA` takes the next one, too.
const PORTS: [&str; 13] = [
    "GATEWAY",
    "GATEWAY_TLS",
    "DASHBOARD",
    "POSTGRES",
    "REDIS",
    "KAFKA",
    "MONGO",
    "FRONT",
    "AUTH",
    "USER_PROFILE",
    "POSTS",
    "FEED_GENERATOR",
    "NOTIFICATION",
];

/// The services, as `scripts/stack` names them.
pub const SERVICES: [&str; 5] = [
    "auth",
    "user-profile",
    "posts",
    "feed-generator",
    "notification",
];

/// A stack in a folder and on ports of its own.
#[derive(Debug, Clone)]
pub struct Stack {
    settings: Vec<(String, String)>,
    /// What `scripts/stack env` printed.
    known: HashMap<String, String>,
}

impl Stack {
    /// One that is not started yet. Its ports are free ones, unless `STACK_<NAME>_PORT` says which; its
    /// folder is beside that of the executables, unless `STACK_DIR` says where.
    pub fn new(plan: &Plan) -> anyhow::Result<Self> {
        let executables = plan.rookery.parent().context("rookery is in no folder")?;
        let beside = || executables.with_file_name("bench-stack");
        let folder = std::env::var_os("STACK_DIR").map_or_else(beside, PathBuf::from);
        let mut settings = vec![
            ("STACK_DIR".to_owned(), text(&folder)?),
            ("BIN_DIR".to_owned(), text(executables)?),
        ];
        for name in PORTS {
            let variable = format!("STACK_{name}_PORT");
            if std::env::var_os(&variable).is_some() {
                continue; // scripts/stack reads it itself
            }
            let port = match name {
                "KAFKA" => free_ports(2),
                _ => free_port(),
            };
            settings.push((variable, port.to_string()));
        }
        Ok(Self {
            settings,
            known: HashMap::new(),
        })
    }

    /// Starts everything, with nothing in it.
    pub async fn up(&mut self) -> anyhow::Result<()> {
        eprintln!("starting the servers and services");
        self.run(&["wipe"]).await?;
        self.run(&["up", "--no-build"]).await?;
        self.look().await
    }

    /// Stops a part.
    pub async fn stop(&self, part: &str) -> anyhow::Result<()> {
        self.run(&["stop", part]).await.map(drop)
    }

    /// Starts a part and waits until it answers.
    pub async fn start(&mut self, part: &str) -> anyhow::Result<()> {
        self.run(&["start", part]).await?;
        self.look().await
    }

    async fn look(&mut self) -> anyhow::Result<()> {
        let said = self.run(&["env"]).await?;
        let known = said.lines().filter_map(|line| {
            let (name, value) = line.split_once('=')?;
            // Quoted for a shell, which for addresses and numbers means a backslash here and there.
            Some((name.to_owned(), value.replace('\\', "")))
        });
        self.known = known.collect();
        Ok(())
    }

    /// What `scripts/stack env` says under this name.
    pub fn value(&self, name: &str) -> anyhow::Result<&str> {
        let value = self.known.get(name).map(String::as_str);
        value.with_context(|| format!("scripts/stack env does not say {name}"))
    }

    /// A service, or `traefik`, which is where the gateway is.
    pub fn server(&self, part: &str) -> anyhow::Result<Server> {
        let name = part.to_uppercase().replace('-', "_");
        let url = match part {
            "traefik" => self.value("GATEWAY_URL")?,
            _ => self.value(&format!("{name}_URL"))?,
        };
        let address: SocketAddr = url
            .strip_prefix("http://")
            .unwrap_or(url)
            .parse()
            .with_context(|| format!("{url} is no address"))?;
        let pid = self.value(&format!("{name}_PID"))?.parse();
        Ok(Server::running(address, pid.context("it has no process")?))
    }

    /// Runs `scripts/stack` and answers what it printed.
    pub async fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let settings = self.settings.iter().map(|(name, value)| (name, value));
        shell(
            Command::new(project().join("scripts/stack"))
                .args(arguments)
                .envs(settings),
        )
        .await
    }
}

/// What `command` printed, once it has succeeded.
pub async fn shell(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .current_dir(project())
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| format!("could not start {command:?}"))?;
    anyhow::ensure!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// The project's folder, where this was built.
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text(path: &Path) -> anyhow::Result<String> {
    let path = std::path::absolute(path)?;
    let text = path.to_str().context("a folder's name is no text")?;
    Ok(text.to_owned())
}
