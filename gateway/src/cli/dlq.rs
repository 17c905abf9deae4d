//! `rookery dlq`.

use anyhow::bail;
use blocks::consumer::Blocked;
use events::timestamp;
use service::settings::encoded;

use super::args::{Dlq, Handle};
use super::client::{Answers, Operators};
use super::say;
use super::table::{Table, or_dash};
use runtime::operator::view::{BlockedView, Outcome, Selection};

pub(super) async fn run(operators: &Operators, command: Dlq) -> anyhow::Result<()> {
    match command {
        Dlq::List { group, json } => list(operators, group, json).await,
        Dlq::Show { id, json } => show(operators, &id, json).await,
        Dlq::Replay { id: Some(id), .. } => one(operators, &id, "replay").await,
        Dlq::Replay {
            id: None, group, ..
        } => {
            let endpoints = operators.reading(group.as_deref()).await?;
            let selection = Selection { group };
            let answers = endpoints.post("/dead-letters/replay", &selection).await;
            if answers.given.is_empty() {
                answers.complete()?;
                return say("Nothing waits.");
            }
            let outcome = told(&answers.given);
            answers.complete()?;
            outcome
        }
        Dlq::Discard { id } => one(operators, &id, "discard").await,
    }
}

async fn one(operators: &Operators, handle: &Handle, what: &str) -> anyhow::Result<()> {
    let endpoint = operators.of_group(&handle.group).await?;
    let path = format!("{}/{what}", path(handle));
    told(&[endpoint.post(&path, &()).await?])
}

fn path(handle: &Handle) -> String {
    format!("/dead-letters/{}/{}", encoded(&handle.group), handle.id)
}

async fn list(operators: &Operators, group: Option<String>, json: bool) -> anyhow::Result<()> {
    let endpoints = operators.reading(group.as_deref()).await?;
    let wanted = group.map(|name| format!("?group={}", encoded(&name)));
    let path = format!("/dead-letters{}", wanted.unwrap_or_default());
    let answers: Answers<Blocked> = endpoints.get(&path).await;
    if json {
        say(serde_json::to_string_pretty(&answers.given)?)?;
        return answers.complete();
    }
    if answers.given.is_empty() {
        answers.complete()?;
        return say("Nothing waits.");
    }
    let mut table = Table::new(["ID", "REASON", "TYPE", "KEY", "WAITING", "SINCE", "ERROR"]);
    for key in &answers.given {
        table.row([
            format!("{}:{}", key.group, key.id),
            key.reason.as_str().to_owned(),
            or_dash(key.event_type.as_deref()),
            key.key.clone(),
            key.waiting.to_string(),
            timestamp(key.since),
            key.error.clone(),
        ]);
    }
    say(table)?;
    answers.complete()
}

async fn show(operators: &Operators, handle: &Handle, json: bool) -> anyhow::Result<()> {
    let endpoint = operators.of_group(&handle.group).await?;
    let found: BlockedView = endpoint.get(&path(handle)).await?;
    if json {
        return say(serde_json::to_string_pretty(&found)?);
    }
    let of = &found.blocked;
    let reason = format!("{} after {} attempts", of.reason.as_str(), of.attempts);
    for (name, value) in [
        ("id", handle.to_string()),
        ("topic", of.topic.clone()),
        ("key", of.key.clone()),
        ("reason", reason),
        ("since", timestamp(of.since)),
        ("error", of.error.clone()),
        ("waiting", of.waiting.to_string()),
    ] {
        say(format!("{name:<10}{value}"))?;
    }
    for record in found.waiting {
        say(format!(
            "\n#{} {} of {}",
            or_dash(record.sequence),
            or_dash(record.event_type.as_deref()),
            record.time
        ))?;
        for (name, value) in &record.headers {
            say(format!("  {name}: {value}"))?;
        }
        say(format!("  {}", record.value))?;
    }
    say(format!(
        "\n`rookery dlq replay {handle}` tries again, `rookery dlq discard {handle}` goes on without it."
    ))
}

fn told(outcomes: &[Outcome]) -> anyhow::Result<()> {
    let mut stuck = 0;
    for outcome in outcomes {
        let handle = format!("{}:{}", outcome.group, outcome.id);
        match &outcome.note {
            None => say(format!("{handle}  {} goes on", outcome.key))?,
            Some(note) => {
                stuck += 1;
                say(format!("{handle}  {} does not go on: {note}", outcome.key))?;
            }
        }
    }
    if stuck > 0 {
        bail!("{stuck} of {} do not go on", outcomes.len());
    }
    Ok(())
}
