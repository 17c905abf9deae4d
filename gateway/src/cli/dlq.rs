//! `rookery dlq`.

use anyhow::bail;
use blocks::consumer::Blocked;
use events::timestamp;

use super::args::{Dlq, Handle};
use super::client::{Server, encoded};
use super::say;
use super::table::{Table, or_dash};
use crate::admin::view::{BlockedView, Outcome, Selection};

pub(super) async fn run(server: &Server, command: Dlq) -> anyhow::Result<()> {
    match command {
        Dlq::List { group, json } => list(server, group, json).await,
        Dlq::Show { id, json } => show(server, &id, json).await,
        Dlq::Replay { id: Some(id), .. } => {
            told(&[server.post(&format!("{}/replay", path(&id)), &()).await?])
        }
        Dlq::Replay {
            id: None, group, ..
        } => {
            let done: Vec<Outcome> = server
                .post("/dead-letters/replay", &Selection { group })
                .await?;
            if done.is_empty() {
                return say("Nothing waits.");
            }
            told(&done)
        }
        Dlq::Discard { id } => told(&[server.post(&format!("{}/discard", path(&id)), &()).await?]),
    }
}

fn path(handle: &Handle) -> String {
    format!("/dead-letters/{}/{}", encoded(&handle.group), handle.id)
}

async fn list(server: &Server, group: Option<String>, json: bool) -> anyhow::Result<()> {
    let query = group.map_or_else(String::new, |group| format!("?group={}", encoded(&group)));
    let blocked: Vec<Blocked> = server.get(&format!("/dead-letters{query}")).await?;
    if json {
        return say(serde_json::to_string_pretty(&blocked)?);
    }
    if blocked.is_empty() {
        return say("Nothing waits.");
    }
    let mut table = Table::new(["ID", "REASON", "TYPE", "KEY", "WAITING", "SINCE", "ERROR"]);
    for key in blocked {
        table.row([
            format!("{}:{}", key.group, key.id),
            key.reason.as_str().to_owned(),
            or_dash(key.event_type),
            key.key,
            key.waiting.to_string(),
            timestamp(key.since),
            key.error,
        ]);
    }
    say(table)
}

async fn show(server: &Server, handle: &Handle, json: bool) -> anyhow::Result<()> {
    let found: BlockedView = server.get(&path(handle)).await?;
    if json {
        return say(serde_json::to_string_pretty(&found)?);
    }
    let Blocked {
        id,
        group,
        topic,
        key,
        reason,
        error,
        attempts,
        since,
        waiting,
        ..
    } = found.blocked;
    say(format!("id        {group}:{id}"))?;
    say(format!("topic     {topic}"))?;
    say(format!("key       {key}"))?;
    say(format!(
        "reason    {} after {attempts} attempts",
        reason.as_str()
    ))?;
    say(format!("since     {}", timestamp(since)))?;
    say(format!("error     {error}"))?;
    say(format!("waiting   {waiting}"))?;
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
        "\n`rookery dlq replay {group}:{id}` tries again, `rookery dlq discard {group}:{id}` goes on without it."
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
