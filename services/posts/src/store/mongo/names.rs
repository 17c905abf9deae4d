//! What this process last saw of authors, so that creating a post need not ask each time.
//!
//! A rename or a closed account that another process was told of is known here within [`LASTS`]; one
//! that this process was told of, at once.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// For how long the name of an author is believed.
pub(super) const LASTS: Duration = Duration::from_secs(2);
/// No more authors are remembered.
const AUTHORS: usize = 20_000;

/// What is known of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    /// No event of it came yet.
    Nothing,
    /// Its name.
    Name(String),
    /// It was closed.
    Closed,
}

#[derive(Debug)]
struct Entry {
    known: Known,
    version: i64,
    since: Instant,
}

/// What is known of accounts.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<HashMap<i64, Entry>>);

impl Names {
    /// What is known of an account, and since when, unless that is too long ago.
    pub(super) fn get(&self, user_id: i64) -> Option<(Known, Instant)> {
        let entries = self.0.lock();
        let entry = entries.get(&user_id)?;
        let fresh = entry.since.elapsed() < LASTS || entry.known == Known::Closed;
        fresh.then(|| (entry.known.clone(), entry.since))
    }

    /// Whether an account is known to be closed.
    pub(super) fn is_closed(&self, user_id: i64) -> bool {
        let entries = self.0.lock();
        matches!(entries.get(&user_id), Some(entry) if entry.known == Known::Closed)
    }

    /// Takes over what was read at `since` as of the account's event `version`. What is newer stays.
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
        // The names were read from the start again: what was believed before does not matter.
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
