//! The limits of a rookery: the least that could do the same work. Each runs as a process of its own.

#[cfg(feature = "fleet")]
pub mod consume;
mod http;
pub mod log;
#[cfg(feature = "fleet")]
mod lrange;
#[cfg(feature = "fleet")]
pub mod mongo;
mod seam;
#[cfg(feature = "fleet")]
mod service;
mod sqlite;

use std::io::Read;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::Plan;
use crate::load::{Answers, Latencies, latencies};

/// One of the limits.
#[derive(Debug, Subcommand)]
pub enum Limit {
    /// An empty handler in axum, with nothing around it.
    Bare {
        /// Where to listen.
        #[arg(long)]
        port: u16,
    },
    /// A handler in the kit that every rookery process has around its routes.
    Kit {
        /// Where to listen.
        #[arg(long)]
        port: u16,
        /// Answers with the bytes of this file, as JSON; without it, with nothing.
        #[arg(long)]
        answer: Option<PathBuf>,
        /// Answers with the headers in this file, a `name: value` a line, besides.
        #[arg(long)]
        headers: Option<PathBuf>,
    },
    /// Writers that share one SQLite file: one durable commit a write.
    Sqlite(Writers),
    /// Writers of posts through the write seam, and nothing around it.
    Seam(Writers),
    /// Appends to the topic log in batches.
    Log(Writers),
    /// A service that does nothing but to check who is calling.
    #[cfg(feature = "fleet")]
    Service {
        /// Where to listen.
        #[arg(long)]
        port: u16,
        /// What it answers callers at.
        #[arg(long)]
        path: String,
        /// Where auth is, for its keys.
        #[arg(long)]
        auth_url: String,
    },
    /// A handler in the kit that asks Redis for one range of a list.
    #[cfg(feature = "fleet")]
    Lrange {
        /// Where to listen.
        #[arg(long)]
        port: u16,
        /// The Redis.
        #[arg(long)]
        url: String,
    },
    /// Writers of documents to a MongoDB.
    #[cfg(feature = "fleet")]
    Insert {
        /// The server.
        #[arg(long)]
        url: String,
        /// Who writes, and for how long.
        #[command(flatten)]
        pace: Pace,
    },
    /// A consumer that writes each event to Redis.
    #[cfg(feature = "fleet")]
    Consume {
        /// The Kafka.
        #[arg(long)]
        servers: String,
        /// The Redis.
        #[arg(long)]
        url: String,
        /// How many events there are.
        #[arg(long)]
        events: usize,
    },
}

/// Writers to one file.
#[derive(Debug, Clone, clap::Args)]
pub struct Writers {
    /// A new folder for it.
    #[arg(long)]
    folder: PathBuf,
    #[command(flatten)]
    pace: Pace,
}

/// Who writes, and for how long.
#[derive(Debug, Clone, clap::Args)]
pub struct Pace {
    /// How many write.
    #[arg(long)]
    clients: usize,
    /// How long they write before it counts.
    #[arg(long)]
    warm_up_ms: u64,
    /// How long it counts.
    #[arg(long)]
    time_ms: u64,
}

impl Limit {
    /// Runs it: servers until their standard input ends, which it does when whoever started them is
    /// gone, writers for as long as they were told to.
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Bare { port } => {
                end_with_parent()?;
                http::bare(port).await
            }
            Self::Kit {
                port,
                answer,
                headers,
            } => {
                end_with_parent()?;
                http::kit(port, answer, headers).await
            }
            Self::Sqlite(writers) => tell(&sqlite::write(&writers).await?),
            Self::Seam(writers) => tell(&seam::write(&writers).await?),
            Self::Log(writers) => tell(&log::append(&writers).await?),
            #[cfg(feature = "fleet")]
            Self::Service {
                port,
                path,
                auth_url,
            } => {
                end_with_parent()?;
                service::serve(port, &path, &auth_url).await
            }
            #[cfg(feature = "fleet")]
            Self::Lrange { port, url } => {
                end_with_parent()?;
                lrange::serve(port, &url).await
            }
            #[cfg(feature = "fleet")]
            Self::Insert { url, pace } => tell(&mongo::insert(&url, &pace).await?),
            #[cfg(feature = "fleet")]
            Self::Consume {
                servers,
                url,
                events,
            } => {
                println!("{}", consume::consume(&servers, &url, events).await?);
                Ok(())
            }
        }
    }
}

fn end_with_parent() -> anyhow::Result<()> {
    std::thread::Builder::new()
        .name("parent".into())
        .spawn(|| {
            // Nothing is ever written to it: this returns when it is closed.
            let outcome = std::io::stdin().read(&mut [0]);
            std::process::exit(i32::from(outcome.is_err()));
        })?;
    Ok(())
}

/// The report that writers print for the process that started them.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    /// Latencies in nanoseconds, each with its count.
    counted: Vec<(u64, u64)>,
    all: u64,
}

fn tell(answers: &Answers) -> anyhow::Result<()> {
    let counted = answers.counted.iter_recorded();
    let told = Told {
        counted: counted
            .map(|bucket| {
                (
                    bucket.value_iterated_to(),
                    bucket.count_since_last_iteration(),
                )
            })
            .collect(),
        all: answers.all,
    };
    println!("{}", serde_json::to_string(&told)?);
    Ok(())
}

/// Starts `what` (see [`Limit`]) over a new folder and answers what its writers did.
pub async fn written(plan: &Plan, what: &str, clients: usize) -> anyhow::Result<Answers> {
    let folder = plan.temp()?;
    let path = folder.path().to_str();
    let path = path.context("the folder's name is no text")?;
    run(plan, &[what, "--folder", path], clients).await
}

/// Starts writers (see [`Limit`]) and answers what they did.
pub async fn run(plan: &Plan, arguments: &[&str], clients: usize) -> anyhow::Result<Answers> {
    let output = Command::new(std::env::current_exe()?)
        .arg("limits")
        .args(arguments)
        .args(["--clients", &clients.to_string()])
        .args(["--warm-up-ms", &millis(plan.warm_up)])
        .args(["--time-ms", &millis(plan.turn)])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("could not start the writers")?;
    anyhow::ensure!(
        output.status.success(),
        "the writers failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let told: Told = serde_json::from_slice(&output.stdout)?;
    let mut counted: Latencies = latencies();
    for (nanos, times) in told.counted {
        counted.saturating_record_n(nanos, times);
    }
    Ok(Answers {
        counted,
        all: told.all,
        time: plan.turn,
    })
}

fn millis(time: Duration) -> String {
    time.as_millis().to_string()
}
