//! Failures of a relay, logged once a fault and now and then, not once an attempt.

use std::collections::HashMap;
use std::error::Error;

use crate::backoff::Reminder;
use crate::error::chain;

/// Something that may fail and is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Work {
    Publish,
    SetAside,
    Mark,
    Read,
    Look,
    Sweep,
}

impl Work {
    /// The log messages for its failure and its recovery.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Publish => (
                "could not publish, events stay in the outbox",
                "publishing works again",
            ),
            Self::SetAside => (
                "could not set a refused event aside",
                "setting refused events aside works again",
            ),
            Self::Mark => (
                "could not mark events as published",
                "marking events as published works again",
            ),
            Self::Read => (
                "could not read the outbox",
                "reading the outbox works again",
            ),
            Self::Look => (
                "could not look at the outbox",
                "looking at the outbox works again",
            ),
            Self::Sweep => (
                "could not sweep the outbox",
                "sweeping the outbox works again",
            ),
        }
    }
}

/// The failures of one service's relay.
#[derive(Debug)]
pub(super) struct Troubles {
    service: &'static str,
    told: HashMap<Work, Reminder>,
}

impl Troubles {
    pub fn new(service: &'static str) -> Self {
        Self {
            service,
            told: HashMap::new(),
        }
    }

    /// Notes that `work` failed.
    pub fn failed(&mut self, work: Work, error: &(dyn Error + 'static)) {
        let (failure, _) = work.words();
        // Not by the reason: a broker that is away gives another one at nearly every attempt.
        if self.told.entry(work).or_default().is_due(failure) {
            tracing::warn!(service = self.service, error = %chain(error), "{failure}");
        }
    }

    /// Notes that `work` was done.
    pub fn worked(&mut self, work: Work) {
        if self.told.get_mut(&work).is_some_and(Reminder::is_over) {
            let (_, recovery) = work.words();
            tracing::info!(service = self.service, "{recovery}");
        }
    }
}
