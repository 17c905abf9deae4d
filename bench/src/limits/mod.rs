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

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use testkit::stack::output;
use tokio::process::Command;

use crate::Plan;
use crate::load::{Answers, Latencies, latencies, repeat};

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

/// The number of writers, and their time.
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
            Self::Bare { port } => http::bare(port).await,
            Self::Kit {
                port,
                answer,
                headers,
            } => http::kit(port, answer, headers).await,
            Self::Sqlite(writers) => tell(&sqlite::write(&writers).await?),
            Self::Seam(writers) => tell(&seam::write(&writers).await?),
            Self::Log(writers) => tell(&log::append(&writers).await?),
            #[cfg(feature = "fleet")]
            Self::Service {
                port,
                path,
                auth_url,
            } => service::serve(port, &path, &auth_url).await,
            #[cfg(feature = "fleet")]
            Self::Lrange { port, url } => lrange::serve(port, &url).await,
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

impl Pace {
    /// Has that many clones of `worker` take one step after the other.
    async fn repeat<W, S>(
        &self,
        worker: &W,
        step: impl Fn(W) -> S + Clone + Send + 'static,
    ) -> anyhow::Result<Answers>
    where
        W: Clone + Send + 'static,
        S: Future<Output = anyhow::Result<W>> + Send + 'static,
    {
        let workers = vec![worker.clone(); self.clients];
        let warm_up = Duration::from_millis(self.warm_up_ms);
        repeat(workers, warm_up, Duration::from_millis(self.time_ms), step).await
    }
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

/// Starts writers (see [`Limit`]) and answers their measurements.
pub async fn run(plan: &Plan, arguments: &[&str], clients: usize) -> anyhow::Result<Answers> {
    let (clients, warm_up) = (clients.to_string(), millis(plan.warm_up));
    let time = millis(plan.turn);
    let pace = ["--clients", &clients, "--warm-up-ms", &warm_up];
    let told: Told = said(&[arguments, &pace, &["--time-ms", &time]].concat()).await?;
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

/// Runs a limit to its end and reads its output, which is JSON.
async fn said<T: DeserializeOwned>(arguments: &[&str]) -> anyhow::Result<T> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("limits").args(arguments).stdin(Stdio::null());
    let said = output(command.kill_on_drop(true)).await;
    Ok(serde_json::from_str(&said.context("a limit failed")?)?)
}

fn millis(time: Duration) -> String {
    time.as_millis().to_string()
}
