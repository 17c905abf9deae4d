//! The fleet on this machine, through `scripts/stack`, which knows its parts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context;
use tokio::process::Command;

use crate::ports::free_ports;

/// A stack in a folder and on ports of its own.
#[derive(Debug, Clone)]
pub struct Stack {
    folder: PathBuf,
    /// The folder of the services' executables.
    executables: PathBuf,
    ports: Vec<Port>,
}

/// A line of `scripts/stack parts`.
#[derive(Debug, Clone)]
struct Port {
    /// `server`, `edge` or `service`.
    kind: String,
    part: String,
    /// `STACK_<NAME>_PORT` says which it is.
    variable: String,
    number: u16,
}

impl Stack {
    /// A fleet that is not started yet. Its ports are free ones, unless `STACK_<NAME>_PORT` names one.
    ///
    /// # Errors
    /// When `scripts/stack` does not tell its parts.
    pub fn new(folder: &Path, executables: &Path) -> anyhow::Result<Self> {
        let mut stack = Self {
            folder: std::path::absolute(folder)?,
            executables: std::path::absolute(executables)?,
            ports: Vec::new(),
        };
        let said = stack.command("scripts/stack").arg("parts").output()?;
        anyhow::ensure!(said.status.success(), "scripts/stack parts failed");
        for line in String::from_utf8(said.stdout)?.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [kind, part, setting, number] = words[..] else {
                anyhow::bail!("scripts/stack parts says {line:?}");
            };
            stack.ports.push(Port {
                kind: kind.to_owned(),
                part: part.to_owned(),
                variable: format!("STACK_{setting}_PORT"),
                number: number.parse()?,
            });
        }
        // Ports of one setting are a row.
        for row in stack
            .ports
            .chunk_by_mut(|one, next| one.variable == next.variable)
        {
            if std::env::var_os(&row[0].variable).is_none() {
                let first = free_ports(u16::try_from(row.len())?);
                for (number, port) in (first..).zip(row) {
                    port.number = number;
                }
            }
        }
        Ok(stack)
    }

    /// The services.
    pub fn services(&self) -> Vec<&str> {
        self.parts("service")
    }

    /// The servers below them.
    pub fn servers(&self) -> Vec<&str> {
        self.parts("server")
    }

    fn parts(&self, kind: &str) -> Vec<&str> {
        let of_kind = self.ports.iter().filter(|port| port.kind == kind);
        let mut parts: Vec<&str> = of_kind.map(|port| &*port.part).collect();
        parts.dedup();
        parts
    }

    /// A command of the project's folder that is about this stack.
    pub fn command(&self, program: &str) -> std::process::Command {
        let mut command = std::process::Command::new(program);
        command
            .current_dir(project())
            .stdin(Stdio::null())
            .env("STACK_DIR", &self.folder)
            .env("BIN_DIR", &self.executables);
        // The first port of a row is the one that is set.
        for port in self.ports.iter().rev() {
            command.env(&port.variable, port.number.to_string());
        }
        command
    }

    /// Has `scripts/stack` do something; answers its output.
    ///
    /// # Errors
    /// When it fails.
    pub async fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.command("scripts/stack");
        command.args(arguments);
        output(&mut command.into()).await
    }

    /// The value of this name in `scripts/stack env`.
    ///
    /// # Errors
    /// When there is none.
    pub async fn value(&self, name: &str) -> anyhow::Result<String> {
        let all = self.run(&["env"]).await?;
        let mut lines = all.lines().filter_map(|line| line.split_once('='));
        let value = lines.find(|(found, _)| *found == name);
        let (_, value) = value.with_context(|| format!("scripts/stack env does not say {name}"))?;
        // Quoted for a shell, which for addresses and numbers means a backslash here and there.
        Ok(value.replace('\\', ""))
    }

    /// The number of a part's process.
    ///
    /// # Errors
    /// When it has none.
    pub async fn pid(&self, part: &str) -> anyhow::Result<u32> {
        let name = part.replace('-', "_").to_uppercase();
        let pid = self.value(&format!("{name}_PID")).await?.parse();
        pid.with_context(|| format!("{part} does not run"))
    }

    /// The port of a part; replicas keep theirs in a file.
    ///
    /// # Panics
    /// When there is no such part.
    pub fn port(&self, part: &str) -> u16 {
        let known = self.ports.iter().find(|port| port.part == part);
        known.map_or_else(
            || {
                let kept = fs::read_to_string(self.folder(part).join("port"));
                kept.unwrap().trim().parse().unwrap()
            },
            |port| port.number,
        )
    }

    /// The address of a part: `127.0.0.1:8000`.
    pub fn address(&self, part: &str) -> String {
        format!("127.0.0.1:{}", self.port(part))
    }

    /// The data folder of a part. PostgreSQL's may be elsewhere.
    pub fn folder(&self, part: &str) -> PathBuf {
        self.folder.join(part)
    }

    /// The log of a part so far.
    pub fn log(&self, part: &str) -> String {
        fs::read_to_string(self.folder(part).join("log")).unwrap_or_default()
    }
}

/// Runs `command` and gives its output.
///
/// # Errors
/// When it fails, with what it printed.
pub async fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().await;
    let output = output.with_context(|| format!("could not start {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{command:?} failed: {said}");
    Ok(String::from_utf8(output.stdout)?)
}

/// The project's folder, where this was built.
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
