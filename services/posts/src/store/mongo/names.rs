//! A memory of authors, so that creating a post need not ask the database each time.
//!
//! Renames and closings by this process are known at once, those by other processes within
//! [`LASTS`].

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// The time for which an author's name is used from memory.
pub(super) const LASTS: Duration = Duration::from_secs(2);
/// Most authors that are remembered.
const AUTHORS: usize = 20_000;

/// An account's name, or that it is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    /// No event of it came yet.
    Nothing,
    Name(String),
    /// The account was closed.
    Closed,
}

#[derive(Debug)]
struct Entry {
    known: Known,
    version: i64,
    since: Instant,
}

/// The remembered accounts.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<HashMap<i64, Entry>>);

impl Names {
    /// The account as remembered, with the time of its reading; `None` if that is too long ago.
    pub(super) fn get(&self, user_id: i64) -> Option<(Known, Instant)> {
        let entries = self.0.lock();
        let entry = entries.get(&user_id)?;
        let fresh = entry.since.elapsed() < LASTS || entry.known == Known::Closed;
        fresh.then(|| (entry.known.clone(), entry.since))
    }

    /// True if the account is remembered as closed.
    pub(super) fn is_closed(&self, user_id: i64) -> bool {
        let entries = self.0.lock();
        matches!(entries.get(&user_id), Some(entry) if entry.known == Known::Closed)
    }

    /// Remembers the account as read at `since`, as of its event `version`. Newer knowledge stays.
    pub(super) fn learn(&self, user_id: i64, known: Known, version: i64, since: Instant) {
        let mut entries = self.0.lock();
        if let Some(entry) = entries.get(&user_id) {
            let is_newer = entry.version > version && entry.since.elapsed() < LASTS;
            if entry.known == Known::Closed || is_newer {
                return;
            }
        }
        if entries.len() >= AUTHORS {
            entries.retain(|_, entry| entry.since.elapsed() < LASTS);
        }
        if entries.len() >= AUTHORS {
            entries.clear();
        }
        let entry = Entry {
            known,
            version,
            since,
        };
        entries.insert(user_id, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> Known {
        Known::Name(name.to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_believed_for_a_while_and_an_older_one_never_replaces_it() {
        let names = Names::default();
        assert_eq!(names.get(1), None);
        names.learn(1, name("new"), 2, Instant::now());
        names.learn(1, name("old"), 1, Instant::now());
        assert_eq!(names.get(1).unwrap().0, name("new"));
        tokio::time::advance(LASTS).await;
        assert_eq!(names.get(1), None);
        // The names were read from the start again: earlier knowledge does not matter.
        names.learn(1, name("old"), 0, Instant::now());
        assert_eq!(names.get(1).unwrap().0, name("old"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_account_stays_closed() {
        let names = Names::default();
        names.learn(1, Known::Closed, 3, Instant::now());
        names.learn(1, name("back"), 4, Instant::now());
        tokio::time::advance(LASTS * 10).await;
        assert!(names.is_closed(1));
        assert_eq!(names.get(1).unwrap().0, Known::Closed);
        assert!(!names.is_closed(2));
    }
}
