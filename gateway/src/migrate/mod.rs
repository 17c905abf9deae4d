//! `rookery migrate`: an embedded folder moves into the stores of a fleet.
//!
//! ```text
//! servers ─ the folder's lock ─ settle ─▶ compare ─▶ copy ─▶ compare again: counts and hashes
//!                                 │          └ what did not come from this folder is refused, all of it,
//!                                 │            before anything is written
//!                                 └ all committed events are published, all published ones applied
//! ```
//!
//! A data migration is a list of [`Part`]s: each service that is open there makes its own, and `log` makes
//! those of the topics. Each is a walk over both sides in the same order, so it can be broken off anywhere
//! and done again.

mod log;
mod settle;
mod shown;

use std::sync::Arc;

use anyhow::Context;
use blocks::SystemClock;
use blocks::config::Config;
use blocks::data_migration::{Compared, MigrateError, Part};
use blocks::outbox::{InspectOutbox, Outbox};
use runtime::fleet::Fleet;
use runtime::{Embedded, Stores, topics};
use service::{Place, Role, Store};

use crate::roster::ROSTER;
use crate::site::{self, Site};

/// The result of a part.
#[derive(Debug)]
pub struct Moved {
    /// The part's name, as `auth.users`.
    pub name: String,
    /// Both sides at the end.
    pub compared: Compared,
    /// The number of rows that this run wrote.
    pub written: u64,
}

/// The result of a data migration.
#[derive(Debug)]
pub struct Report {
    /// The results of all parts.
    pub parts: Vec<Moved>,
    /// Events that the folder's log has refused. Those of posts stay behind.
    pub refused: u64,
}

/// Moves the folder of `config` into the servers that it names; `dry` only compares.
///
/// # Errors
/// When it can't, naming the setting or the part. Run again, it goes on.
pub async fn run(config: &Config, dry: bool) -> anyhow::Result<Report> {
    let folder = site::folder(config, "to move")?;
    shown::say("asking the servers");
    let clock = Arc::new(SystemClock);
    let fleet = Fleet::for_operator(config, clock.clone(), Role::Serves, ROSTER).await?;
    let moved = match Embedded::open(config, folder, clock, Role::Serves).await {
        Ok(embedded) => {
            let moved = with_site(&embedded, &fleet, dry).await;
            embedded.close().await;
            moved
        }
        Err(error) => Err(error),
    };
    fleet.close().await;
    moved
}

async fn with_site(embedded: &Embedded, fleet: &Fleet, dry: bool) -> anyhow::Result<Report> {
    let mut targets = Vec::new();
    for of in ROSTER {
        targets.push((of.data_migration)(of, fleet).await?);
    }
    let site = Site::open(embedded).await?;
    let services = site.opened.iter().map(|of| &of.service);
    topics::create(&*embedded.bus(), services).await?;
    shown::say("settling the folder: what is committed is published and applied");
    settle::settle(&site, embedded).await?;
    let databases = embedded.databases();
    let mut parts = Vec::new();
    for (of, migration) in ROSTER.iter().zip(targets) {
        let name = of.name;
        let from = databases.iter().find(|db| db.settings().service == name);
        let from = from.with_context(|| format!("{name} has no file in the folder"))?;
        let own = migration(from.clone()).await;
        parts.extend(own.with_context(|| format!("could not compare what {name} holds"))?);
    }
    // Last, so that a group which already runs there knows what it has before it reads.
    parts.extend(log::parts(embedded, fleet.bus()).await?);
    // All of them before the first is written.
    let mut before = Vec::with_capacity(parts.len());
    for part in &parts {
        let compared = shown::walk("comparing", &part.name, None, async |seen| {
            part.compare(seen).await
        });
        before.push(compared.await.map_err(refused)?);
    }
    if !dry {
        shown::say("making the topics");
        let specs = embedded.bus().topics().await?;
        let made = fleet.bus().ensure_topics(&specs).await;
        made.context("could not create the topics (KAFKA_BOOTSTRAP_SERVERS)")?;
        for (part, before) in parts.iter().zip(&before) {
            copy(part, before).await?;
        }
    }
    let mut moved = Vec::with_capacity(parts.len());
    for (part, before) in parts.iter().zip(before) {
        let compared = if dry {
            before
        } else {
            let walk = shown::walk("verifying", &part.name, Some(before.here), async |seen| {
                part.compare(seen).await
            });
            walk.await.map_err(refused)?
        };
        moved.push(Moved {
            name: part.name.clone(),
            compared,
            written: compared.there.saturating_sub(before.there),
        });
    }
    Ok(Report {
        parts: moved,
        refused: refused_events(embedded).await?,
    })
}

async fn copy(part: &Part, before: &Compared) -> anyhow::Result<()> {
    let missing = before.missing();
    if missing == 0 {
        return Ok(());
    }
    let walk = shown::walk("copying", &part.name, Some(missing), async |written| {
        part.copy(written).await
    });
    walk.await.map_err(refused)?;
    Ok(())
}

/// Adds to the error what an operator can do about it.
fn refused(error: MigrateError) -> anyhow::Error {
    let used = matches!(
        error,
        MigrateError::Foreign { .. } | MigrateError::Differs { .. }
    );
    let error = anyhow::Error::from(error);
    if used {
        error.context(
            "the servers have data that did not come from this folder, and nothing is mixed: name \
             empty ones, or empty these (once the fleet has run on them, there is nothing more to move)",
        )
    } else {
        error
    }
}

/// Events that the log will never take, and that have no place where their service moves to.
async fn refused_events(embedded: &Embedded) -> anyhow::Result<u64> {
    let elsewhere = ROSTER.iter().filter(|of| of.store == Store::Mongo);
    let elsewhere: Vec<&str> = elsewhere.map(|of| of.name).collect();
    let mut refused = 0;
    for db in embedded.databases() {
        let name = db.settings().service;
        if elsewhere.contains(&name) {
            let count = db.refused().await;
            let count = count.map_err(anyhow::Error::from_boxed);
            let count = count.with_context(|| format!("could not read the outbox of {name}"))?;
            refused += u64::try_from(count)?;
        }
    }
    Ok(refused)
}

/// Counts the events that wait in an outbox.
async fn pending(outbox: &dyn Outbox) -> anyhow::Result<i64> {
    let depth = outbox.depth().await.map_err(anyhow::Error::from_boxed)?;
    Ok(depth.pending)
}
