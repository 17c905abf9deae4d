//! Hands events from a commit to the relay in memory: nobody waits for a poll.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use events::header;
use tokio::sync::mpsc;

use super::Pending;
use super::direct::{Direct, Waiting, header_of};
use crate::error::chain;

/// Number of commits that may wait for the relay; on SQLite up to 256 writes share one.
const CAPACITY: usize = 4096;

/// Events that may wait there, as far as commits are like the one that comes: an import has hundreds in each.
const MOST_WAITING: usize = 16_384;

/// The events that [`super::Direct`] keeps at most, give or take the writes under way.
pub const MOST_IN_MEMORY: usize = 100_000;

/// The writing side's end, the relay's end, and the outbox in memory that has the latter in its place.
type Ways = (
    HandOver,
    Option<mpsc::Receiver<Vec<Pending>>>,
    Option<Arc<Direct>>,
);

/// The writing side's end of [`super::Outbox::committed`].
#[derive(Clone)]
pub struct HandOver {
    to: mpsc::Sender<Vec<Pending>>,
    fell_behind: Arc<AtomicBool>,
    /// The service whose events no store has, and where they are kept.
    kept: Option<(&'static str, Waiting)>,
}

impl HandOver {
    /// Both ends of the way.
    pub fn channel() -> (Self, mpsc::Receiver<Vec<Pending>>) {
        let (to, from) = mpsc::channel(CAPACITY);
        (
            Self {
                to,
                fell_behind: Arc::default(),
                kept: None,
            },
            from,
        )
    }

    /// The way of a store's events. Where the store keeps no outbox, [`Direct`] has its far end.
    pub fn of(service: &'static str, keeps_outbox: bool) -> Ways {
        if keeps_outbox {
            let (hand_over, committed) = Self::channel();
            return (hand_over, Some(committed), None);
        }
        let (hand_over, direct) = Direct::new(service);
        (hand_over, None, Some(direct))
    }

    pub(super) fn keep_in(&mut self, service: &'static str, waiting: Waiting) {
        self.kept = Some((service, waiting));
    }

    /// True if so many events are in memory alone that no more may be committed.
    pub fn is_full(&self) -> bool {
        let kept = self.kept.as_ref();
        kept.is_some_and(|(_, waiting)| waiting.lock().len() >= MOST_IN_MEMORY)
    }

    /// Hands over the events of a commit. A relay that waits for its bus, or is slower than an import, lets the
    /// channel fill: the rest stays in the outbox and is read from there.
    pub fn give(&self, events: Vec<Pending>) {
        if let Some((_, waiting)) = &self.kept {
            let kept = events.iter().map(|event| (event.place, event.clone()));
            waiting.lock().extend(kept);
        }
        let waiting = self.to.max_capacity() - self.to.capacity();
        // Behind one that was left out all are, as long as the relay has something to wake up for.
        let is_full = waiting > 0 && self.fell_behind.load(Ordering::Acquire)
            || waiting * events.len() >= MOST_WAITING;
        if !events.is_empty() && (is_full || self.to.try_send(events).is_err()) {
            self.fell_behind.store(true, Ordering::Release);
        }
    }

    /// Says which events may be lost because a write failed with `error` and may be done all the same. Where
    /// the store keeps an outbox, nothing is: the sweeper finds them.
    pub fn answer_lost(&self, events: &[Pending], error: &(dyn Error + 'static)) {
        let Some((service, _)) = self.kept.as_ref().filter(|_| !events.is_empty()) else {
            return;
        };
        let messages = || events.iter().map(|event| &event.message);
        let types: BTreeSet<&str> = messages().map(|of| header_of(of, header::TYPE)).collect();
        let types: Vec<&str> = types.into_iter().collect();
        let keys: BTreeSet<&str> = messages().map(|message| &*message.key).collect();
        tracing::error!(
            service,
            events = events.len(),
            keys = keys.len(),
            types = types.join(" "),
            error = chain(error),
            "the answer of a commit was lost; its events may be lost without an outbox"
        );
    }

    /// See [`super::Outbox::fell_behind`].
    pub fn fell_behind(&self) -> bool {
        self.fell_behind.swap(false, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use events::Message;

    use super::*;
    use crate::outbox::Place;

    fn commit(events: usize) -> Vec<Pending> {
        let message = Message {
            topic: "topic".into(),
            key: "key".into(),
            headers: Vec::new(),
            value: Vec::new(),
            time: DateTime::UNIX_EPOCH,
        };
        let pending = Pending {
            place: Place::row(1),
            message,
        };
        vec![pending; events]
    }

    #[test]
    fn large_commits_wait_for_a_slow_relay_in_the_outbox() {
        let (hand_over, mut relay) = HandOver::channel();
        for _ in 0..16 {
            hand_over.give(commit(MOST_WAITING / 16));
        }
        assert!(!hand_over.fell_behind());
        hand_over.give(commit(MOST_WAITING / 16));
        assert_eq!(relay.len(), 16);
        // It may be of a key of those that were left out, and must not come first.
        hand_over.give(commit(1));
        assert_eq!(relay.len(), 16);
        assert!(hand_over.fell_behind());
        hand_over.give(commit(1));
        assert_eq!(relay.len(), 17);
        assert!(!hand_over.fell_behind());
        while relay.try_recv().is_ok() {}
        hand_over.give(commit(MOST_WAITING * 2));
        assert!(!hand_over.fell_behind(), "alone it is never too large");
    }
}
