//! `rookery outbox`.

use blocks::{Clock, SystemClock};
use events::timestamp;

use super::args::{Outbox, OutboxCommand};
use super::client::Server;
use super::say;
use super::table::{Table, moment, or_dash, span};
use crate::admin::view::{OutboxView, Republish, Republished};

pub(super) async fn run(server: &Server, outbox: Outbox) -> anyhow::Result<()> {
    match outbox.command {
        Some(OutboxCommand::Republish { since, service }) => {
            republish(server, &since, service).await
        }
        None => show(server, outbox.list.unwrap_or(0), outbox.json).await,
    }
}

async fn show(server: &Server, rows: u32, json: bool) -> anyhow::Result<()> {
    let outboxes: Vec<OutboxView> = server.get(&format!("/outboxes?list={rows}")).await?;
    if json {
        return say(serde_json::to_string_pretty(&outboxes)?);
    }
    let mut table = Table::new(["SERVICE", "PENDING", "OLDEST", "REFUSED"]);
    for outbox in &outboxes {
        table.row([
            outbox.service.clone(),
            outbox.pending.to_string(),
            or_dash(outbox.oldest_age_ms.map(span)),
            outbox.refused.to_string(),
        ]);
    }
    say(table)?;
    if rows == 0 {
        return Ok(());
    }
    for outbox in outboxes.iter().filter(|outbox| !outbox.rows.is_empty()) {
        say(format!("\n{}", outbox.service))?;
        let mut table = Table::new([
            "COMMITTED",
            "STATUS",
            "TYPE",
            "KEY",
            "VERSION",
            "TOPIC",
            "ERROR",
        ]);
        for row in &outbox.rows {
            table.row([
                timestamp(row.created_at),
                row.status.clone(),
                row.event_type.clone(),
                row.key.clone(),
                row.version.to_string(),
                row.topic.clone(),
                or_dash(row.error.as_deref()),
            ]);
        }
        say(table)?;
    }
    Ok(())
}

async fn republish(server: &Server, since: &str, service: Option<String>) -> anyhow::Result<()> {
    let since = moment(since, SystemClock.now())?;
    let done: Vec<Republished> = server
        .post("/outboxes/republish", &Republish { since, service })
        .await?;
    for outbox in &done {
        say(format!("{}: {} events", outbox.service, outbox.events))?;
    }
    if server.is_running() {
        return say("The server publishes them within seconds.");
    }
    say("No server runs: the next one publishes them when it starts.")
}
