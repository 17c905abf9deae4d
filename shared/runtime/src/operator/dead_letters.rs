//! Blocked keys: the reasons, replay and discard.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use blocks::Problem;
use blocks::consumer::{ApplyError, Blocked, Consumer, Reason};
use blocks::error::BoxError;
use blocks::extract::{ValidJson, ValidQuery};
use service::Role;
use tokio::time::Instant;

use super::view::{BlockedView, Outcome, Selection};
use super::{LOOK_EVERY, Operator, away, listed, records};

/// Number of waiting records shown.
const SHOWN: usize = 20;
/// Time that an answer waits for the consumer's attempt: one in another process polls every five seconds.
const TRY_TIME: Duration = Duration::from_secs(12);

/// The names of the groups here.
pub(super) async fn groups(State(operator): State<Operator>) -> Json<Vec<&'static str>> {
    Json(operator.consumers.iter().map(|of| of.group).collect())
}

pub(super) async fn list(
    State(operator): State<Operator>,
    ValidQuery(selection): ValidQuery<Selection>,
) -> Result<Json<Vec<Blocked>>, Problem> {
    operator.blocked(&selection).await.map(Json)
}

pub(super) async fn show(
    State(operator): State<Operator>,
    Path((group, id)): Path<(String, i64)>,
) -> Result<Json<BlockedView>, Problem> {
    let consumer = operator.group(&group)?;
    let blocked = find(consumer, id).await?;
    let waiting = consumer.store.waiting(id, SHOWN).await;
    let waiting = waiting.map_err(|error| away(&error))?;
    Ok(Json(BlockedView {
        blocked,
        waiting: waiting.into_iter().map(records::view).collect(),
    }))
}

pub(super) async fn replay(
    State(operator): State<Operator>,
    Path((group, id)): Path<(String, i64)>,
) -> Result<Json<Outcome>, Problem> {
    let consumer = operator.group(&group)?;
    let blocked = find(consumer, id).await?;
    operator.replay(consumer, blocked).await.map(Json)
}

/// All of them are made due first: a consumer of another process polls only now and then.
pub(super) async fn replay_all(
    State(operator): State<Operator>,
    ValidJson(selection): ValidJson<Selection>,
) -> Result<Json<Vec<Outcome>>, Problem> {
    let mut due = Vec::new();
    for blocked in operator.blocked(&selection).await? {
        let consumer = operator.group(&blocked.group)?;
        let found = consumer.store.replay(blocked.id).await;
        // A key that is not found any more went on by itself.
        if found.map_err(|error| away(&error))? {
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

pub(super) async fn discard(
    State(operator): State<Operator>,
    Path((group, id)): Path<(String, i64)>,
) -> Result<Json<Outcome>, Problem> {
    let consumer = operator.group(&group)?;
    let blocked = find(consumer, id).await?;
    let found = consumer.store.discard(id).await;
    if !found.map_err(|error| away(&error))? {
        return Err(nothing(consumer, id, &[]));
    }
    let end = Instant::now() + TRY_TIME;
    operator.settle(consumer, blocked, end).await.map(Json)
}

impl Operator {
    fn group(&self, name: &str) -> Result<&Consumer, Problem> {
        let found = self.consumers.iter().find(|known| known.group == name);
        found.ok_or_else(|| {
            let names = self.consumers.iter().map(|consumer| consumer.group);
            Problem::not_found(
                "group_not_found",
                format!("there is no consumer group {name:?}; {}", listed(names)),
            )
        })
    }

    async fn blocked(&self, selection: &Selection) -> Result<Vec<Blocked>, Problem> {
        let consumers = match &selection.group {
            Some(name) => vec![self.group(name)?],
            None => self.consumers.iter().collect(),
        };
        let mut all = Vec::new();
        for consumer in consumers {
            let blocked = consumer.store.blocked().await;
            all.extend(blocked.map_err(|error| away(&error))?);
        }
        Ok(all)
    }

    async fn replay(&self, consumer: &Consumer, blocked: Blocked) -> Result<Outcome, Problem> {
        let found = consumer.store.replay(blocked.id).await;
        if !found.map_err(|error| away(&error))? {
            return Err(nothing(consumer, blocked.id, &[]));
        }
        self.settle(consumer, blocked, Instant::now() + TRY_TIME)
            .await
    }

    /// Waits until the group has tried the key again, at most until `end`, and answers the outcome.
    async fn settle(
        &self,
        consumer: &Consumer,
        before: Blocked,
        end: Instant,
    ) -> Result<Outcome, Problem> {
        if self.role == Role::StandsIn {
            match consumer.store.retry_due().await {
                Ok(_) => {}
                Err(error @ (ApplyError::Unavailable(_) | ApplyError::Moved)) => {
                    return Err(away(&(Box::new(error) as BoxError)));
                }
            }
        }
        let note = loop {
            let now = consumer.store.blocked().await;
            let now = now.map_err(|error| away(&error))?;
            let key = now.into_iter().find(|blocked| blocked.id == before.id);
            match key {
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

async fn find(consumer: &Consumer, id: i64) -> Result<Blocked, Problem> {
    let blocked = consumer.store.blocked().await;
    let blocked = blocked.map_err(|error| away(&error))?;
    match blocked.iter().find(|blocked| blocked.id == id) {
        Some(found) => Ok(found.clone()),
        None => Err(nothing(consumer, id, &blocked)),
    }
}

fn nothing(consumer: &Consumer, id: i64, others: &[Blocked]) -> Problem {
    let group = consumer.group;
    let handles: Vec<String> = others
        .iter()
        .map(|other| format!("{group}:{}", other.id))
        .collect();
    Problem::not_found(
        "dead_letter_not_found",
        format!(
            "the group {group} has nothing with the id {id}; {}",
            listed(handles.iter().map(String::as_str))
        ),
    )
}
