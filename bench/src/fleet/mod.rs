//! The fleet: every service a process of its own, over the servers that `scripts/stack` starts.
//!
//! ```text
//! bench fleet ─┬─ scripts/stack up ─▶ PostgreSQL, Redis, Kafka, MongoDB's wire, Traefik, services
//!              ├─ starts ─▶ bench limits …, a second Traefik        what limits them, beside them
//!              └─ asks both in turns ─▶ table and JSON; scripts/stack wipe
//! ```
//!
//! Its data goes to a folder of its own, which is emptied before and removed after.

mod catch_up;
mod create;
mod edge;
mod feed;
mod freshness;
mod gateway;
mod idle;
mod validate;

use std::path::PathBuf;

use anyhow::Context;
use clap::ValueEnum;
use testkit::stack::Stack;

use crate::community::join;
use crate::measure::Measure;
use crate::report::Report;
use crate::server::Server;
use crate::{Options, Plan};

/// One of the scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// What each service takes when nobody asks.
    Idle,
    /// The question that Traefik asks auth for each request.
    Validate,
    /// A request through Traefik, beside a bare Traefik.
    Gateway,
    /// Writing posts, beside the same server taking one document each.
    Create,
    /// The first page of the feed, beside one LRANGE.
    Feed,
    /// From sending a post to seeing it in the feed.
    Freshness,
    /// A feed-generator that has everything before it. Leaves a full topic behind: the last one.
    CatchUp,
}

impl Scenario {
    async fn measure(self, world: &World<'_>) -> anyhow::Result<Vec<Measure>> {
        match self {
            Self::Idle => idle::measure(world).await,
            Self::Validate => validate::measure(world).await,
            Self::Gateway => gateway::measure(world).await,
            Self::Create => create::measure(world).await,
            Self::Feed => feed::measure(world).await,
            Self::Freshness => freshness::measure(world).await,
            Self::CatchUp => catch_up::measure(world).await,
        }
    }
}

/// The inputs of every scenario.
struct World<'a> {
    plan: &'a Plan,
    stack: &'a Stack,
    /// A token each account.
    tokens: Vec<String>,
}

const ACCOUNTS: usize = 4;

/// A part of the stack that answers HTTP; `traefik` is where the gateway is.
async fn server(stack: &Stack, part: &str) -> anyhow::Result<Server> {
    let address = stack.address(part).parse()?;
    Ok(Server::running(address, stack.pid(part).await?))
}

/// A stack that is not started yet. It is kept beside the executables, unless `STACK_DIR` says where.
fn new_stack(plan: &Plan) -> anyhow::Result<Stack> {
    let executables = plan.rookery.parent().context("rookery is in no folder")?;
    let beside = || executables.with_file_name("bench-stack");
    let folder = std::env::var_os("STACK_DIR").map_or_else(beside, PathBuf::from);
    Stack::new(&folder, executables)
}

/// Starts a fleet, measures it, and removes it.
pub async fn measure(options: &Options<Scenario>) -> anyhow::Result<()> {
    let plan = Plan::new(options)?;
    let mut report = Report::new("fleet", &plan.folder, plan.runs, plan.turn);
    println!("{}", report.heading());
    let stack = new_stack(&plan)?;
    let wanted = options.wanted();
    let measured = tokio::select! {
        measured = measure_all(&plan, &stack, &wanted, &mut report) => measured,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.map_err(Into::into).and_then(|()| anyhow::bail!("interrupted"))
        }
    };
    let wiped = stack
        .run(&["wipe"])
        .await
        .context("could not stop the stack");
    // Measurements from before a failure are reported, too: they took their time.
    let told = crate::tell(&report, &plan, options.json.as_deref());
    measured.and(wiped.map(drop)).and(told)
}

async fn measure_all(
    plan: &Plan,
    stack: &Stack,
    wanted: &[Scenario],
    report: &mut Report,
) -> anyhow::Result<()> {
    eprintln!("starting the servers and services");
    stack.run(&["wipe"]).await?;
    stack.run(&["up", "--no-build"]).await?;
    let mut gateway = server(stack, "traefik").await?.connect().await?;
    let mut tokens = Vec::with_capacity(ACCOUNTS);
    for number in 0..ACCOUNTS {
        tokens.push(join(&mut gateway, number).await?);
    }
    drop(gateway);
    let world = World {
        plan,
        stack,
        tokens,
    };
    // A full topic would keep the other consumers busy: the scenario that fills it comes last.
    let (last, first): (Vec<Scenario>, Vec<Scenario>) = wanted
        .iter()
        .partition(|scenario| **scenario == Scenario::CatchUp);
    for scenarios in [first, last] {
        let measure = async |scenario: Scenario| scenario.measure(&world).await;
        crate::run(plan, &scenarios, report, measure).await?;
    }
    Ok(())
}
