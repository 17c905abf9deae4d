//! Spans and log lines of a group's work. All spans have level `debug`: unused, they cost next to nothing.
//! Log lines carry an event's trace at every level.

use std::panic::{AssertUnwindSafe, catch_unwind};

use events::{Context, Envelope, header};
use futures::FutureExt;
use tracing::{Instrument, Level, Span};

use super::HandlerError;
use crate::bus::Record;
use crate::context;

/// The span around the write of a batch.
pub(super) fn batch(group: &str, records: &[Record]) -> Span {
    tracing::debug_span!("consume.batch", group, records = records.len())
}

/// The span `consume.post.created` and the like.
fn event(group: &str, record: &Record, event: &Envelope) -> Span {
    tracing::debug_span!(
        "consume",
        otel.name = %format_args!("consume.{}", event.event_type),
        group,
        topic = %record.topic,
        partition = record.partition,
        offset = record.offset,
        event.id = %event.id,
    )
}

/// Runs `work`, in which `group` handles `of`, in a span of its own. Events that it publishes belong to the
/// trace of the handled event.
///
/// # Errors
/// Those of `work`; a panic is a refusal.
pub async fn handling<T>(
    group: &str,
    record: &Record,
    of: &Envelope,
    work: impl Future<Output = Result<T, HandlerError>>,
) -> Result<T, HandlerError> {
    let work = context::caused_by(&of.context, AssertUnwindSafe(work).catch_unwind());
    let done = work.instrument(event(group, record, of)).await;
    done.unwrap_or_else(|panic| Err(HandlerError::panicked(&*panic)))
}

/// The same for `work` that waits for nothing and publishes nothing.
///
/// # Errors
/// Those of `work`; a panic is a refusal.
pub fn handling_now<T>(
    group: &str,
    record: &Record,
    of: &Envelope,
    work: impl FnOnce() -> Result<T, HandlerError>,
) -> Result<T, HandlerError> {
    let work = || context::about(&of.context, || catch_unwind(AssertUnwindSafe(work)));
    let done = event(group, record, of).in_scope(work);
    done.unwrap_or_else(|panic| Err(HandlerError::panicked(&*panic)))
}

/// Logs each record as taken in, for readers that follow a trace through the logs.
pub(super) fn taken_in(group: &str, records: &[Record]) {
    if !tracing::enabled!(Level::DEBUG) {
        return;
    }
    for record in records {
        let header = |name| record.header(name).unwrap_or_default();
        context::about(&Context::of(&record.headers), || {
            tracing::debug!(
                group, topic = %record.topic, partition = record.partition, offset = record.offset,
                event.id = header(header::ID), event.r#type = header(header::TYPE),
                "took in an event"
            );
        });
    }
}
