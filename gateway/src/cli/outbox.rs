//! `rookery outbox`.

use blocks::{Clock, SystemClock};
use events::timestamp;

use super::args::{Outbox, OutboxCommand};
use super::client::{Answers, Operators};
use super::say;
use super::table::{Table, moment, or_dash, span};
use runtime::operator::view::{OutboxView, Republish, Republished};

pub(super) async fn run(operators: &Operators, outbox: Outbox) -> anyhow::Result<()> {
    match outbox.command {
        Some(OutboxCommand::Republish { since, service }) => {
            republish(operators, &since, service).await
        }
        None => show(operators, outbox.list.unwrap_or(0), outbox.json).await,
    }
}

async fn show(operators: &Operators, rows: u32, json: bool) -> anyhow::Result<()> {
    let path = format!("/outboxes?list={rows}");
    let answers: Answers<OutboxView> = operators.all().get(&path).await;
    let outboxes = &answers.given;
    if json {
        say(serde_json::to_string_pretty(outboxes)?)?;
        return answers.complete();
    }
    let mut table = Table::new(["SERVICE", "PENDING", "OLDEST", "REFUSED"]);
    for outbox in outboxes {
        table.row([
            outbox.service.clone(),
            outbox.pending.to_string(),
            or_dash(outbox.oldest_age_ms.map(span)),
            outbox.refused.to_string(),
        ]);
    }
    say(table)?;
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
    answers.complete()
}

async fn republish(
    operators: &Operators,
    since: &str,
    service: Option<String>,
) -> anyhow::Result<()> {
    let since = moment(since, SystemClock.now())?;
    let endpoints = operators.serving(service.as_deref())?;
    let wanted = Republish { since, service };
    let answers: Answers<Republished> = endpoints.post("/outboxes/republish", &wanted).await;
    for outbox in &answers.given {
        say(format!("{}: {} events", outbox.service, outbox.events))?;
    }
    answers.complete()?;
    if operators.is_running() {
        return say("They are published within seconds.");
    }
    say("Whoever runs the services next publishes them when it starts.")
}
