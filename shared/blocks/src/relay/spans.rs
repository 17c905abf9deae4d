//! Spans and log lines of the relay, by the same rules as those of consumers.

use events::Context;
use tracing::{Instrument, Level};

use crate::bus::BusError;
use crate::context;
use crate::outbox::Pending;

/// Runs `publish`, of this many events, in a span that records its outcome.
pub(super) async fn drain(
    service: &'static str,
    events: usize,
    publish: impl Future<Output = Result<(), BusError>>,
) -> Result<(), BusError> {
    let outcome = tracing::field::Empty;
    let span = tracing::debug_span!("relay.drain", service, events, outcome);
    let answer = publish.instrument(span.clone()).await;
    let outcome = match &answer {
        Ok(()) => "published",
        Err(BusError::Refused { .. } | BusError::UnknownTopic(_)) => "refused",
        Err(BusError::Unavailable(_) | BusError::PartitionsChanged { .. }) => "failed",
    };
    span.record("outcome", outcome);
    answer
}

/// Logs each event as published, for readers that follow a trace through the logs.
pub(super) fn published(service: &'static str, events: &[Pending]) {
    if !tracing::enabled!(Level::DEBUG) {
        return;
    }
    for Pending { place, message } in events {
        context::about(&Context::of(&message.headers), || {
            tracing::debug!(
                service, outbox.position = %place, topic = %message.topic, key = %message.key,
                "published an event"
            );
        });
    }
}

/// Says that the bus will never take an event.
pub(super) fn refused(service: &'static str, event: &Pending, reason: &str) {
    context::about(&Context::of(&event.message.headers), || {
        tracing::error!(
            service, outbox.position = %event.place, %reason,
            "the bus refused an event: its row is kept as `refused`"
        );
    });
}
