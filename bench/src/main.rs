//! Measures the release `rookery` against what limits it, on this machine, in one run.
//!
//! ```text
//! bench ─┬─ starts ─▶ rookery, on a free port, over an empty folder       the subject
//!        ├─ starts ─▶ bench limits bare | kit | sqlite, beside it         its limit
//!        └─ asks both in turns: closed loop, keep-alive, loopback only ─▶ table and JSON
//! ```
//!
//! | folder      | content |
//! |-------------|---------------|
//! | `scenarios` | the measurements, one file each |
//! | `limits`    | the limits to compare with, run as processes of their own |
//! | `fleet`     | the same for the services as processes of their own (feature `fleet`) |
//!
//! To add a scenario: a file in `scenarios`, an arm in [`scenarios::Scenario`], a line in
//! `docs/benchmarks.md`.
//!
//! Only ratios within one run mean something: the load generator takes its share of the same cores,
//! and machines have better and worse days.

mod client;
mod community;
#[cfg(feature = "fleet")]
mod fleet;
mod limits;
mod load;
mod machine;
mod measure;
mod report;
mod scenarios;
mod server;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::limits::Limit;
use crate::measure::Measure;
use crate::report::Report;
use crate::scenarios::Scenario;

const TEACH: &str = "\
Build first, with the release profile, then run:
  cargo build --release -p gateway -p bench
  target/release/bench                                    everything, about seven minutes
  target/release/bench --only create --only read          two scenarios
  target/release/bench --quick                            a smoke run: numbers without meaning
  target/release/bench --json bench.json                  keeps every run, not only the medians
  make bench-fleet                                        the services as processes, real servers

A ratio compares rookery with a limit measured in the same run, in turns of a few seconds. What each
row means, and what it should reach, is in docs/benchmarks.md. Nothing but loopback is used; all data
goes to temporary folders.";

/// Measures the release `rookery` against its limits.
#[derive(Debug, Parser)]
#[command(name = "bench", after_help = TEACH)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options<Scenario>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs one of the limits; the benchmark starts these itself.
    #[command(subcommand)]
    Limits(Limit),
    /// Measures the fleet: every service a process, over the servers that scripts/stack starts.
    #[cfg(feature = "fleet")]
    Fleet(Options<fleet::Scenario>),
}

#[derive(Debug, Args)]
struct Options<S: ValueEnum + Clone + Send + Sync + 'static> {
    /// Measures only this; may be given more than once.
    #[arg(long, value_enum, value_name = "SCENARIO")]
    only: Vec<S>,
    /// One short run of everything, to see that it works.
    #[arg(long)]
    quick: bool,
    /// Writes every run to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How many runs; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    runs: u32,
    /// How long a turn takes. Each run gives both sides two turns.
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS", value_parser = seconds)]
    turn: f64,
    /// Where temporary folders are made; the file system under it is measured, too.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// A Redis of which the scenario `cache` asks what it remembers, too.
    #[cfg(feature = "redis")]
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// The binary to measure, if it is not the one beside this.
    #[arg(long, value_name = "FILE")]
    rookery: Option<PathBuf>,
}

impl<S: ValueEnum + Copy + PartialEq + Send + Sync> Options<S> {
    /// The scenarios in their usual order; all when none is named.
    fn wanted(&self) -> Vec<S> {
        let all = S::value_variants().iter().copied();
        all.filter(|scenario| self.only.is_empty() || self.only.contains(scenario))
            .collect()
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected seconds, 0.1 to 600".into()),
    }
}

/// The inputs of every scenario.
#[derive(Debug)]
struct Plan {
    rookery: PathBuf,
    folder: PathBuf,
    turn: Duration,
    warm_up: Duration,
    turns: u32,
    runs: u32,
    quick: bool,
    #[cfg(feature = "redis")]
    redis: Option<String>,
}

impl Plan {
    fn new<S>(options: &Options<S>) -> anyhow::Result<Self>
    where
        S: ValueEnum + Clone + Send + Sync,
    {
        let beside = || Ok::<_, anyhow::Error>(std::env::current_exe()?.with_file_name("rookery"));
        let rookery = options.rookery.clone().map_or_else(beside, Ok)?;
        anyhow::ensure!(
            rookery.is_file(),
            "there is no {}: build it with `cargo build --release -p gateway -p bench`",
            rookery.display()
        );
        if cfg!(debug_assertions) && !options.quick {
            anyhow::bail!("this is a debug build: use `cargo run --release -p bench`, or --quick");
        }
        let turn = if options.quick { 0.5 } else { options.turn };
        Ok(Self {
            rookery: rookery.canonicalize()?,
            folder: options.folder.clone().unwrap_or_else(std::env::temp_dir),
            turn: Duration::from_secs_f64(turn),
            warm_up: Duration::from_secs_f64(if options.quick { 0.1 } else { 0.5 }),
            turns: if options.quick { 1 } else { 2 },
            runs: if options.quick { 1 } else { options.runs },
            quick: options.quick,
            #[cfg(feature = "redis")]
            redis: options.redis.clone(),
        })
    }

    /// A new folder, which goes when it is dropped.
    fn temp(&self) -> anyhow::Result<tempfile::TempDir> {
        tempfile::Builder::new()
            .prefix("rookery-bench-")
            .tempdir_in(&self.folder)
            .with_context(|| format!("could not make a folder in {}", self.folder.display()))
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Limits(limit)) => limit.run().await,
        #[cfg(feature = "fleet")]
        Some(Command::Fleet(options)) => fleet::measure(&options).await,
        None => measure(&cli.options).await,
    }
}

async fn measure(options: &Options<Scenario>) -> anyhow::Result<()> {
    let plan = Plan::new(options)?;
    let mut report = Report::new("rookery", &plan.folder, plan.runs, plan.turn);
    println!("{}", report.heading());
    run(&plan, &options.wanted(), &mut report, async |scenario| {
        scenario.measure(&plan).await
    })
    .await?;
    tell(&report, &plan, options.json.as_deref())
}

/// Measures `scenarios` as often as `plan` says.
async fn run<S: ValueEnum + Copy>(
    plan: &Plan,
    scenarios: &[S],
    report: &mut Report,
    measure: impl AsyncFn(S) -> anyhow::Result<Vec<Measure>>,
) -> anyhow::Result<()> {
    for run in 1..=plan.runs {
        for scenario in scenarios {
            let value = scenario.to_possible_value();
            let value = value.expect("no scenario is skipped");
            let name = value.get_name();
            eprintln!("run {run} of {}: {name}", plan.runs);
            let measures = measure(*scenario).await;
            report.add(measures.with_context(|| format!("could not measure {name}"))?);
        }
    }
    Ok(())
}

/// Prints the measurements, and writes them to `json`.
fn tell(report: &Report, plan: &Plan, json: Option<&Path>) -> anyhow::Result<()> {
    println!("{}", report.table());
    if plan.quick {
        println!("A quick run shows that everything works; its numbers mean nothing.");
    }
    if let Some(path) = json {
        let wrote = File::create(path).map_err(anyhow::Error::from);
        let wrote = wrote.and_then(|file| Ok(serde_json::to_writer_pretty(file, report)?));
        wrote.with_context(|| format!("could not write {}", path.display()))?;
    }
    Ok(())
}
