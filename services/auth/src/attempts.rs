//! Limits the logins to one account. Ten wrong passwords in a row are let through, then one every
//! half a minute; the right one clears the account. A login refused here costs no hash and no place
//! in the queue for one. So guessing at one account does not keep others out.
//!
//! Accounts are counted by the client's name for them, whether or not they exist: an unknown one is
//! refused like a known one. The counts are in memory and bounded; a restart forgets them.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;

use crate::domain::{Login, key};

/// Wrong passwords, or attempts at once, that are let through.
const BURST: i32 = 10;
/// Time after which one wrong password is forgiven.
const FORGIVEN: TimeDelta = TimeDelta::seconds(30);
/// Most accounts that are remembered: more than can be tried in half a minute.
const MOST_ACCOUNTS: usize = 16_384;

/// Too many attempts: the seconds after which to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany(pub u32);

/// The accounts that were tried lately.
#[derive(Default)]
pub(crate) struct Attempts {
    /// Secret, so that nobody finds two names with one entry.
    hasher: RandomState,
    tried: Mutex<HashMap<u64, Tried>>,
}

#[derive(Debug, Clone, Copy)]
struct Tried {
    /// The time at which all wrong passwords are forgiven.
    clean: DateTime<Utc>,
    /// Attempts without an outcome yet.
    open: i32,
}

impl Attempts {
    /// Begins an attempt at `login`. Without an outcome it counts as a wrong password, so hanging
    /// up before the answer gains nothing.
    ///
    /// # Errors
    /// When there were too many.
    pub fn begin(&self, login: &Login, now: DateTime<Utc>) -> Result<Attempt<'_>, TooMany> {
        let key = self.key(login);
        let mut tried = self.tried.lock();
        if tried.len() >= MOST_ACCOUNTS && !tried.contains_key(&key) {
            make_room(&mut tried, now);
        }
        let entry = tried.entry(key).or_insert(Tried {
            clean: now,
            open: 0,
        });
        let most = now + FORGIVEN * BURST;
        // The upper bound matters when the clock was set back.
        entry.clean = entry.clean.clamp(now, most);
        let over = entry.clean + FORGIVEN - most;
        if over > TimeDelta::zero() {
            let seconds = u32::try_from(over.num_seconds()).unwrap_or_default();
            return Err(TooMany(seconds + 1));
        }
        if over + FORGIVEN * entry.open > TimeDelta::zero() {
            return Err(TooMany(1)); // those before it will have their outcome by then
        }
        entry.open += 1;
        Ok(Attempt {
            attempts: self,
            key,
            now,
            wrong: true,
        })
    }

    /// Forgives all wrong passwords of an account.
    pub fn clear(&self, login: &Login) {
        let key = self.key(login);
        let mut tried = self.tried.lock();
        if let Some(entry) = tried.get_mut(&key) {
            entry.clean = DateTime::UNIX_EPOCH;
            if entry.open == 0 {
                tried.remove(&key);
            }
        }
    }

    fn key(&self, login: &Login) -> u64 {
        self.hasher.hash_one(match login {
            Login::Email(email) => (0, key(email)),
            Login::Username(name) => (1, key(name)),
        })
    }
}

/// Drops forgiven entries; if the map is still full, drops the idle account that is forgiven first.
fn make_room(tried: &mut HashMap<u64, Tried>, now: DateTime<Utc>) {
    tried.retain(|_, entry| entry.open > 0 || entry.clean > now);
    if tried.len() < MOST_ACCOUNTS {
        return;
    }
    let idle = tried.iter().filter(|(_, entry)| entry.open == 0);
    if let Some((key, _)) = idle.min_by_key(|(_, entry)| entry.clean) {
        let key = *key;
        tried.remove(&key);
    }
}

/// An attempt under way.
pub(crate) struct Attempt<'a> {
    attempts: &'a Attempts,
    key: u64,
    now: DateTime<Utc>,
    wrong: bool,
}

impl Attempt<'_> {
    /// Ends the attempt without counting it: the password was right, or could not be checked.
    pub fn not_wrong(mut self) {
        self.wrong = false;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut tried = self.attempts.tried.lock();
        let Some(entry) = tried.get_mut(&self.key) else {
            return;
        };
        entry.open -= 1;
        if self.wrong {
            entry.clean = entry.clean.max(self.now) + FORGIVEN;
        } else if entry.open == 0 && entry.clean <= self.now {
            tried.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn ada() -> Login {
        Login::Username("ada".into())
    }

    fn wrong(attempts: &Attempts, login: &Login, second: i64) -> Result<(), TooMany> {
        attempts.begin(login, at(second)).map(drop)
    }

    #[test]
    fn ten_wrong_ones_are_let_through_and_then_one_every_half_minute() {
        let attempts = Attempts::default();
        for _ in 0..10 {
            wrong(&attempts, &ada(), 1000).unwrap();
        }
        let TooMany(seconds) = wrong(&attempts, &ada(), 1000).unwrap_err();
        assert!((30..=31).contains(&seconds), "{seconds}");
        // The case does not matter; but the same text as an address is another account.
        wrong(&attempts, &Login::Username("ADA".into()), 1029).unwrap_err();
        wrong(&attempts, &Login::Email("ada".into()), 1000).unwrap();
        wrong(&attempts, &ada(), 1030).unwrap();
        wrong(&attempts, &ada(), 1030).unwrap_err();
        // After a long wait all ten are free again, and no more.
        for _ in 0..10 {
            wrong(&attempts, &ada(), 9000).unwrap();
        }
        wrong(&attempts, &ada(), 9000).unwrap_err();
    }

    #[test]
    fn the_right_one_clears_and_one_without_an_answer_counts() {
        let attempts = Attempts::default();
        for _ in 0..9 {
            wrong(&attempts, &ada(), 0).unwrap();
        }
        attempts.begin(&ada(), at(0)).unwrap().not_wrong();
        attempts.clear(&ada());
        assert!(attempts.tried.lock().is_empty());
        for _ in 0..9 {
            wrong(&attempts, &ada(), 0).unwrap();
        }
        // The password could not be checked: it may be tried again.
        for _ in 0..20 {
            attempts.begin(&ada(), at(0)).unwrap().not_wrong();
        }
        drop(attempts.begin(&ada(), at(0)).unwrap());
        wrong(&attempts, &ada(), 0).unwrap_err();
    }

    #[test]
    fn of_many_at_once_no_more_are_let_in_than_may_be_wrong() {
        let attempts = Attempts::default();
        let mut open = Vec::new();
        for _ in 0..10 {
            open.push(attempts.begin(&ada(), at(0)).unwrap());
        }
        assert_eq!(attempts.begin(&ada(), at(0)).err(), Some(TooMany(1)));
        open.pop().unwrap().not_wrong();
        attempts.clear(&ada());
        open.push(attempts.begin(&ada(), at(0)).unwrap());
        drop(open);
        wrong(&attempts, &ada(), 0).unwrap_err();
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_nobody_out_for_long() {
        let attempts = Attempts::default();
        for _ in 0..10 {
            wrong(&attempts, &ada(), 1_000_000).unwrap();
        }
        wrong(&attempts, &ada(), 0).unwrap_err();
        wrong(&attempts, &ada(), 30).unwrap();
    }

    #[test]
    fn it_is_bounded_and_forgets_those_who_were_tried_least() {
        let attempts = Attempts::default();
        for _ in 0..10 {
            wrong(&attempts, &ada(), 0).unwrap();
        }
        for number in 0..16_500 {
            wrong(&attempts, &Login::Username(number.to_string()), 0).unwrap();
        }
        assert!(attempts.tried.lock().len() <= MOST_ACCOUNTS);
        wrong(&attempts, &ada(), 0).unwrap_err();
        // Later they are forgiven.
        wrong(&attempts, &Login::Username("eve".into()), 10_000).unwrap();
        assert_eq!(attempts.tried.lock().len(), 1);
    }
}
