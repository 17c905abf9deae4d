//! Blocked keys: the reasons, replay and discard.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use blocks::consumer::{Blocked, Consumer, Reason};
use blocks::error::BoxError;
use blocks::extract::{ValidJson, ValidQuery};
use service::Role;
use tokio::time::Instant;

use super::view::{BlockedView, Outcome, Selection};
use super::{Failed, LOOK_EVERY, Operator, records, unknown};

/// Number of waiting records shown.
const SHOWN: usize = 20;
/// Time that an answer waits for the consumer's attempt: one in another process polls every five seconds.
const TRY_TIME: Duration = Duration::from_secs(12);

pub(super) async fn list(
    State(operator): State<Operator>,
    ValidQuery(selection): ValidQuery<Selection>,
) -> Result<Json<Vec<Blocked>>, Failed> {
    operator.blocked(&selection).await.map(Json)
}

pub(super) async fn show(
    State(operator): State<Operator>,
    Path((group, id)): Path<(String, i64)>,
) -> Result<Json<BlockedView>, Failed> {
    let consumer = operator.group(&group)?;
    let blocked = find(consumer, id).await?;
    let waiting = consumer.store.waiting(id, SHOWN).await?.into_iter();
    let waiting = waiting.map(records::view).collect();
    Ok(Json(BlockedView { blocked, waiting }))
}

/// Replays or discards one.
pub(super) async fn act(
    State(operator): State<Operator>,
    Path((group, id, what)): Path<(String, i64, String)>,
) -> Result<Json<Outcome>, Failed> {
    let consumer = operator.group(&group)?;
    let blocked = find(consumer, id).await?;
    let found = match &*what {
        "replay" => consumer.store.replay(id).await?,
        "discard" => consumer.store.discard(id).await?,
        _ => {
            return Err(unknown(
                "not_found",
                "it can't be done",
                ["replay", "discard"],
            ));
        }
    };
    if !found {
        return Err(nothing(consumer, id, &[]));
    }
    let end = Instant::now() + TRY_TIME;
    operator.settle(consumer, blocked, end).await.map(Json)
}

/// All of them are made due first: a consumer of another process polls only now and then.
pub(super) async fn replay_all(
    State(operator): State<Operator>,
    ValidJson(selection): ValidJson<Selection>,
) -> Result<Json<Vec<Outcome>>, Failed> {
    let mut due = Vec::new();
    for blocked in operator.blocked(&selection).await? {
        let consumer = operator.group(&blocked.group)?;
        // A key that is not found any more went on by itself.
        if consumer.store.replay(blocked.id).await? {
            due.push((consumer, blocked));
        }
    }
    let end = Instant::now() + TRY_TIME;
    let mut outcomes = Vec::new();
    for (consumer, blocked) in due {
        outcomes.push(operator.settle(consumer, blocked, end).await?);
    }
    Ok(Json(outcomes))
}

impl Operator {
    async fn blocked(&self, selection: &Selection) -> Result<Vec<Blocked>, Failed> {
        let consumers = match &selection.group {
            Some(name) => vec![self.group(name)?],
            None => self.consumers.iter().collect(),
        };
        let mut all = Vec::new();
        for consumer in consumers {
            all.extend(consumer.store.blocked().await?);
        }
        Ok(all)
    }

    /// Waits until the group has tried the key again, at most until `end`, and answers the outcome.
    async fn settle(
        &self,
        consumer: &Consumer,
        before: Blocked,
        end: Instant,
    ) -> Result<Outcome, Failed> {
        if self.role == Role::StandsIn {
            consumer.store.retry_due().await.map_err(BoxError::from)?;
        }
        let note = loop {
            let mut now = consumer.store.blocked().await?.into_iter();
            match now.find(|blocked| blocked.id == before.id) {
                None => break None,
                Some(key) if key.reason == Reason::Gap => {
                    break Some(format!(
                        "the version before {} has not come; `outbox republish` publishes it again, \
                         `dlq discard` goes on without it",
                        key.version.unwrap_or_default()
                    ));
                }
                Some(key) if key.reason != Reason::Retrying || key.attempts > 0 => {
                    break Some(format!("refused again: {}", key.error));
                }
                Some(_) if Instant::now() >= end => {
                    break Some("it is due, and not tried yet".to_owned());
                }
                Some(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        };
        Ok(Outcome {
            group: consumer.group.to_owned(),
            id: before.id,
            key: before.key,
            goes_on: note.is_none(),
            note,
        })
    }
}

async fn find(consumer: &Consumer, id: i64) -> Result<Blocked, Failed> {
    let blocked = consumer.store.blocked().await?;
    let found = blocked.iter().find(|blocked| blocked.id == id).cloned();
    found.ok_or_else(|| nothing(consumer, id, &blocked))
}

fn nothing(consumer: &Consumer, id: i64, others: &[Blocked]) -> Failed {
    let group = consumer.group;
    let others = others.iter().map(|other| format!("{group}:{}", other.id));
    let others: Vec<String> = others.collect();
    unknown(
        "dead_letter_not_found",
        &format!("the group {group} has nothing with the id {id}"),
        others.iter().map(String::as_str),
    )
}
