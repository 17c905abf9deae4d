//! The topics and their groups.

use axum::Json;
use axum::extract::State;
use blocks::bus::TopicSpec;
use blocks::consumer;
use blocks::error::BoxError;
use events::Cleanup;

use super::view::{GroupView, TopicView};
use super::{Failed, Operator};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const HOUR_MS: u64 = 60 * 60 * 1000;

pub(super) async fn list(State(operator): State<Operator>) -> Result<Json<Vec<TopicView>>, Failed> {
    views(&operator, |_| true).await.map(Json)
}

/// The topics whose names `wanted` takes, by name.
pub(super) async fn views(
    operator: &Operator,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<TopicView>, Failed> {
    let mut specs = operator.bus.topics().await?;
    specs.retain(|spec| wanted(&spec.name));
    specs.sort_by(|one, other| one.name.cmp(&other.name));
    let mut views = Vec::with_capacity(specs.len());
    for spec in specs {
        views.push(view(operator, spec).await?);
    }
    Ok(views)
}

async fn view(operator: &Operator, spec: TopicSpec) -> Result<TopicView, BoxError> {
    let watermarks = operator.bus.watermarks(&spec.name).await?;
    let mut groups = Vec::new();
    let readers = operator
        .consumers
        .iter()
        .filter(|consumer| consumer.topics.contains(&spec.name));
    for reader in readers {
        groups.push(GroupView {
            group: reader.group.to_owned(),
            lag: consumer::lag(&*operator.bus, &*reader.store, &spec.name).await?,
            blocked: reader.store.blocked().await?.len(),
        });
    }
    Ok(TopicView {
        partitions: spec.partitions,
        keeps: keeps(spec.cleanup),
        records: watermarks.iter().map(|of| of.next - of.oldest).sum(),
        groups,
        name: spec.name,
    })
}

fn keeps(cleanup: Cleanup) -> String {
    let span = |ms: u64| match (ms / DAY_MS, ms / HOUR_MS) {
        (0, 0) => format!("{} s", ms / 1000),
        (0, hours) => format!("{hours} hours"),
        (days, _) => format!("{days} days"),
    };
    match cleanup {
        Cleanup::Delete { after_ms } => span(after_ms),
        Cleanup::Compact { after_ms } => format!("compacted after {}", span(after_ms)),
    }
}
