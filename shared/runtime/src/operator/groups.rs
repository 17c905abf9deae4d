//! The consumer groups, and topics that one reads again.

use axum::Json;
use axum::extract::{Path, State};
use blocks::consumer::Consumer;
use blocks::extract::ValidJson;

use super::view::{Reset, TopicView};
use super::{Failed, Operator, topics, unknown};

/// Their names.
pub(super) async fn list(State(operator): State<Operator>) -> Json<Vec<&'static str>> {
    Json(operator.consumers.iter().map(|of| of.group).collect())
}

/// The topics that the group reads again from their oldest record, as they are before that.
pub(super) async fn reset(
    State(operator): State<Operator>,
    Path(group): Path<String>,
    ValidJson(wanted): ValidJson<Reset>,
) -> Result<Json<Vec<TopicView>>, Failed> {
    let consumer = operator.group(&group)?;
    let names = match wanted.topic {
        None => consumer.topics.clone(),
        Some(topic) if consumer.topics.contains(&topic) => vec![topic],
        Some(topic) => {
            let read = consumer.topics.iter().map(String::as_str);
            let what = format!("{group} does not read {topic:?}");
            return Err(unknown("topic_not_found", &what, read));
        }
    };
    let views = topics::views(&operator, |name| names.iter().any(|of| of == name)).await?;
    if wanted.execute {
        let (from, to) = ways(&operator, consumer, &names).await?;
        consumer.store.reset(&names).await?;
        // Nothing that an operator signs says who it is.
        tracing::info!(group, from, to, "a group reads again by an operator's word");
    }
    Ok(Json(views))
}

/// For the log: the next offsets of the group, and those that it goes back to, as `topic/partition:offset`.
async fn ways(
    operator: &Operator,
    consumer: &Consumer,
    topics: &[String],
) -> Result<(String, String), Failed> {
    let (mut from, mut to) = (Vec::new(), Vec::new());
    for topic in topics {
        let next = consumer.store.stored_positions(topic).await?;
        let place = |partition, offset| format!("{topic}/{partition}:{offset}");
        from.extend(
            next.into_iter()
                .map(|(partition, next)| place(partition, next)),
        );
        let oldest = operator.bus.watermarks(topic).await?.into_iter();
        let oldest = (0..).zip(oldest.map(|of| of.oldest));
        to.extend(oldest.map(|(partition, oldest)| place(partition, oldest)));
    }
    Ok((from.join(" "), to.join(" ")))
}

impl Operator {
    pub(super) fn group(&self, name: &str) -> Result<&Consumer, Failed> {
        let mut known = self.consumers.iter();
        let found = known.find(|known| known.group == name);
        found.ok_or_else(|| {
            let names = self.consumers.iter().map(|consumer| consumer.group);
            unknown(
                "group_not_found",
                &format!("there is no consumer group {name:?}"),
                names,
            )
        })
    }
}
