//! Revocations and account changes in memory: the check of a token must not wait for a database.
//!
//! The memory is loaded at start, and gets every [`Change`] after its commit. It hears nothing
//! else, so other processes' changes can be passed to it, too.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A change that remembered tokens must be checked against. It may be forgotten after `until`, when
/// every token concerned has expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A session was ended.
    SessionEnded {
        /// The session's id.
        session: Uuid,
        /// The expiry of its last token.
        until: DateTime<Utc>,
    },
    /// All sessions of an account that began before `time` were ended.
    SessionsBefore {
        /// The account's number.
        user_id: i64,
        /// Sessions that began earlier have ended.
        time: DateTime<Utc>,
        /// The expiry of their last token.
        until: DateTime<Utc>,
    },
    /// An account's name or role changed: its remembered state is out of date.
    AccountChanged {
        /// The account's number.
        user_id: i64,
        /// The account's version after the change.
        version: i64,
        /// The expiry of the last token from before.
        until: DateTime<Utc>,
    },
}

impl Change {
    /// The time from which it may be forgotten.
    pub fn until(&self) -> DateTime<Utc> {
        match self {
            Self::SessionEnded { until, .. }
            | Self::SessionsBefore { until, .. }
            | Self::AccountChanged { until, .. } => *until,
        }
    }
}

/// The parts of a remembered token that changes are checked against.
#[derive(Debug, Clone, Copy)]
pub struct Remembered {
    /// The account's number.
    pub user_id: i64,
    /// The account's version when it was read.
    pub version: i64,
    /// The token's session.
    pub session: Uuid,
    /// When the session began.
    pub began: DateTime<Utc>,
}

/// The state of a remembered token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The token is valid as remembered.
    Holds,
    /// The token is valid, but the account must be read again.
    OutOfDate,
    /// The token's session has ended.
    Ended,
}

/// The memory of changes.
#[derive(Debug, Default)]
pub struct Revocations(RwLock<Memory>);

#[derive(Debug, Default)]
struct Memory {
    ended: HashMap<Uuid, DateTime<Utc>>,
    before: HashMap<i64, (DateTime<Utc>, DateTime<Utc>)>,
    changed: HashMap<i64, (i64, DateTime<Utc>)>,
    /// The number of entries from which the next clean-up pays, however soon.
    crowded: usize,
    /// The time at which the next clean-up is due in any case.
    due: DateTime<Utc>,
}

const NOT_CROWDED: usize = 1024;
/// Longest time between two clean-ups.
const TIDIED_EVERY: TimeDelta = TimeDelta::minutes(10);

impl Revocations {
    /// Enters `change`. Repetitions and another order lead to the same state.
    pub fn apply(&self, change: Change, now: DateTime<Utc>) {
        let mut memory = self.0.write();
        match change {
            Change::SessionEnded { session, until } => {
                memory.ended.insert(session, until);
            }
            Change::SessionsBefore {
                user_id,
                time,
                until,
            } => {
                let entry = memory.before.entry(user_id).or_insert((time, until));
                *entry = (entry.0.max(time), entry.1.max(until));
            }
            Change::AccountChanged {
                user_id,
                version,
                until,
            } => {
                let entry = memory.changed.entry(user_id).or_insert((version, until));
                *entry = (entry.0.max(version), entry.1.max(until));
            }
        }
        memory.forget_expired(now);
    }

    /// Drops expired entries when that is due. [`Revocations::apply`] does so, too; this is for
    /// times without changes.
    pub fn tidy(&self, now: DateTime<Utc>) {
        if self.0.read().due <= now {
            self.0.write().forget_expired(now);
        }
    }

    /// Checks `remembered` against the changes.
    pub fn judge(&self, remembered: &Remembered) -> Verdict {
        let memory = self.0.read();
        let ended = memory.ended.contains_key(&remembered.session)
            || memory
                .before
                .get(&remembered.user_id)
                .is_some_and(|(time, _)| remembered.began < *time);
        if ended {
            return Verdict::Ended;
        }
        let changed = memory
            .changed
            .get(&remembered.user_id)
            .is_some_and(|(version, _)| remembered.version < *version);
        if changed {
            Verdict::OutOfDate
        } else {
            Verdict::Holds
        }
    }

    /// True if `session` is known to have ended, by its id alone.
    pub fn has_ended(&self, session: Uuid) -> bool {
        self.0.read().ended.contains_key(&session)
    }
}

impl Memory {
    fn len(&self) -> usize {
        self.ended.len() + self.before.len() + self.changed.len()
    }

    /// Drops expired entries now and then, to bound the size.
    fn forget_expired(&mut self, now: DateTime<Utc>) {
        if self.len() < self.crowded.max(NOT_CROWDED) && now < self.due {
            return;
        }
        self.ended.retain(|_, until| *until > now);
        self.before.retain(|_, (_, until)| *until > now);
        self.changed.retain(|_, (_, until)| *until > now);
        // A map keeps its largest capacity, perhaps a hundred times more than it needs.
        self.ended.shrink_to(self.ended.len() * 2);
        self.before.shrink_to(self.before.len() * 2);
        self.changed.shrink_to(self.changed.len() * 2);
        self.crowded = self.len() * 2;
        self.due = now + TIDIED_EVERY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn token(session: u128, began: i64, version: i64) -> Remembered {
        Remembered {
            user_id: 1,
            version,
            session: Uuid::from_u128(session),
            began: at(began),
        }
    }

    #[test]
    fn a_token_holds_until_its_session_its_account_or_its_time_is_spoken_of() {
        let memory = Revocations::default();
        let (now, until) = (at(100), at(1000));
        assert_eq!(memory.judge(&token(1, 10, 1)), Verdict::Holds);
        memory.apply(
            Change::AccountChanged {
                user_id: 1,
                version: 2,
                until,
            },
            now,
        );
        assert_eq!(memory.judge(&token(1, 10, 1)), Verdict::OutOfDate);
        assert_eq!(memory.judge(&token(1, 10, 2)), Verdict::Holds);
        let session = Uuid::from_u128(1);
        memory.apply(Change::SessionEnded { session, until }, now);
        assert_eq!(memory.judge(&token(1, 10, 2)), Verdict::Ended);
        assert!(memory.has_ended(session));
        assert_eq!(memory.judge(&token(2, 10, 2)), Verdict::Holds);
        memory.apply(
            Change::SessionsBefore {
                user_id: 1,
                time: at(20),
                until,
            },
            now,
        );
        assert_eq!(memory.judge(&token(2, 19, 2)), Verdict::Ended);
        assert_eq!(memory.judge(&token(2, 20, 2)), Verdict::Holds);
        // An older change that comes late undoes nothing.
        memory.apply(
            Change::SessionsBefore {
                user_id: 1,
                time: at(5),
                until,
            },
            now,
        );
        memory.apply(
            Change::AccountChanged {
                user_id: 1,
                version: 1,
                until,
            },
            now,
        );
        assert_eq!(memory.judge(&token(2, 19, 2)), Verdict::Ended);
        assert_eq!(memory.judge(&token(2, 20, 1)), Verdict::OutOfDate);
    }

    #[test]
    fn it_forgets_what_expired_and_nothing_else() {
        let memory = Revocations::default();
        let kept = Uuid::from_u128(u128::MAX);
        memory.apply(
            Change::SessionEnded {
                session: kept,
                until: at(1_000_000),
            },
            at(0),
        );
        for second in 0..20_000 {
            let session = Uuid::from_u128(u128::try_from(second).unwrap());
            let until = at(second) + TimeDelta::seconds(10);
            memory.apply(Change::SessionEnded { session, until }, at(second));
        }
        assert!(memory.has_ended(kept));
        assert!(memory.has_ended(Uuid::from_u128(19_999)));
        assert!(memory.0.read().len() <= NOT_CROWDED);
    }

    #[test]
    fn a_few_that_expired_and_the_room_of_a_busy_hour_do_not_stay() {
        let memory = Revocations::default();
        for number in 0..5000 {
            let session = Uuid::from_u128(number);
            let until = at(86_400);
            memory.apply(Change::SessionEnded { session, until }, at(0));
        }
        assert_eq!(memory.0.read().len(), 5000, "all of them still matter");
        memory.tidy(at(86_399));
        assert_eq!(memory.0.read().len(), 5000);
        memory.tidy(at(87_000));
        assert_eq!(memory.0.read().len(), 0);
        assert_eq!(memory.0.read().ended.capacity(), 0);
    }
}
