//! The scenarios that are measured.

mod cache;
mod catch_up;
mod commands;
mod create;
mod footprint;
pub mod freshness;
mod http_client;
mod import;
mod kit;
mod log;
mod read;
pub mod validate;

use clap::ValueEnum;

use crate::Plan;
use crate::measure::Measure;

/// One of the scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// What the kit around every request costs: an empty handler with and without it.
    Kit,
    /// What a command costs by being sent through its service's state.
    Commands,
    /// The question that a gateway asks for each request.
    Validate,
    /// One post, and the first page of the feed.
    Read,
    /// Writing posts, beside SQLite alone.
    Create,
    /// From sending a post to seeing it in the feed.
    Freshness,
    /// Memory, start, and size of the binary.
    Footprint,
    /// The feed made anew from the log.
    CatchUp,
    /// The topic log alone.
    Log,
    /// The HTTP client, beside reqwest alone.
    HttpClient,
    /// A value that a cache remembers.
    Cache,
    /// Accounts of a file, beside bare inserts of their rows.
    Import,
}

impl Scenario {
    /// One run of it, over processes and folders of its own.
    pub async fn measure(self, plan: &Plan) -> anyhow::Result<Vec<Measure>> {
        match self {
            Self::Kit => kit::measure(plan).await,
            Self::Commands => commands::measure().await,
            Self::Validate => validate::measure(plan).await,
            Self::Read => read::measure(plan).await,
            Self::Create => create::measure(plan).await,
            Self::Freshness => freshness::measure(plan).await,
            Self::Footprint => footprint::measure(plan).await,
            Self::CatchUp => catch_up::measure(plan).await,
            Self::Log => log::measure(plan).await,
            Self::HttpClient => http_client::measure(plan).await,
            Self::Cache => cache::measure(plan).await,
            Self::Import => import::measure(plan).await,
        }
    }
}

/// Connections at which rates are measured.
pub const CLIENTS: usize = 32;
