//! Failures of a relay, logged once a fault and now and then, not once an attempt.

use std::collections::HashMap;
use std::error::Error;

use crate::backoff::Reminder;
use crate::error::chain;

/// An operation that is tried again after a failure.
#[derive(Debug)]
pub(super) struct Operation {
    /// The log message about a failure.
    failed: &'static str,
    /// The log message when it works again.
    recovered: &'static str,
}

impl Operation {
    const fn new(failed: &'static str, recovered: &'static str) -> Self {
        Self { failed, recovered }
    }
}

pub(super) const PUBLISH: Operation = Operation::new(
    "could not publish, events stay in the outbox",
    "publishing works again",
);
pub(super) const SET_ASIDE: Operation = Operation::new(
    "could not set a refused event aside",
    "setting refused events aside works again",
);
pub(super) const ACKNOWLEDGE: Operation = Operation::new(
    "could not mark events as published",
    "marking events as published works again",
);
pub(super) const READ: Operation = Operation::new(
    "could not read the outbox",
    "reading the outbox works again",
);
pub(super) const POLL: Operation = Operation::new(
    "could not look at the outbox",
    "looking at the outbox works again",
);
pub(super) const SWEEP: Operation = Operation::new(
    "could not sweep the outbox",
    "sweeping the outbox works again",
);

/// The failures of one service's relay.
#[derive(Debug)]
pub(super) struct Failures {
    service: &'static str,
    /// By the message about the failure.
    reminders: HashMap<&'static str, Reminder>,
}

impl Failures {
    pub fn new(service: &'static str) -> Self {
        Self {
            service,
            reminders: HashMap::new(),
        }
    }

    /// Notes that `operation` failed.
    pub fn add(&mut self, operation: &Operation, error: &(dyn Error + 'static)) {
        let Operation { failed, .. } = operation;
        // Not by the reason: a broker that is away gives another one at nearly every attempt.
        if self.reminders.entry(failed).or_default().is_due(failed) {
            tracing::warn!(service = self.service, error = %chain(error), "{failed}");
        }
    }

    /// Notes that `operation` succeeded.
    pub fn end(&mut self, operation: &Operation) {
        let reminder = self.reminders.get_mut(operation.failed);
        if reminder.is_some_and(Reminder::is_over) {
            tracing::info!(service = self.service, "{}", operation.recovered);
        }
    }
}
