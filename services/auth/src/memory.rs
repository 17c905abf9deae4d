//! The way from a write to the memory of changes: after the commit, and where nobody knows whether
//! there was one.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use blocks::Clock;
use chrono::{DateTime, TimeDelta, Utc};
use sql::StoreError;
use uuid::Uuid;

use crate::Auth;
use crate::error::AuthError;
use crate::revocations::{Change, Revocations};

/// The memory of changes with what it takes to date them, for use after a commit.
pub(crate) struct Memory {
    pub revocations: Arc<Revocations>,
    pub clock: Arc<dyn Clock>,
    pub token_ttl: TimeDelta,
}

impl Memory {
    /// These sessions ended; each with when its last token expires.
    pub fn ended(&self, sessions: Vec<(Uuid, DateTime<Utc>)>) {
        for (session, until) in sessions {
            self.apply(Change::SessionEnded { session, until });
        }
    }

    /// A change that matters until the youngest token of this moment has expired.
    pub fn note(&self, change: impl FnOnce(DateTime<Utc>) -> Change) {
        self.apply(change(self.clock.now() + self.token_ttl));
    }

    fn apply(&self, change: Change) {
        self.revocations.apply(change, self.clock.now());
    }
}

/// The version to which a write takes an account, known to the caller also when the answer to the
/// COMMIT is lost.
#[derive(Clone, Default)]
pub(crate) struct Reached(Arc<AtomicI64>);

impl Reached {
    /// The write is about to take the account to `version`.
    pub fn set(&self, version: i64) {
        self.0.store(version, Ordering::Release);
    }

    /// Passes on how the write ended. When that is not known, whatever is remembered of the account
    /// from before it is read again before it is believed: a session that may have ended is not
    /// vouched for by memory.
    pub fn settle<T>(
        &self,
        auth: &Auth,
        user_id: i64,
        outcome: Result<T, AuthError>,
    ) -> Result<T, AuthError> {
        let version = self.0.load(Ordering::Acquire);
        if version > 0 && matches!(outcome, Err(AuthError::Store(StoreError::Unavailable(_)))) {
            auth.memory().note(|until| Change::AccountChanged {
                user_id,
                version,
                until,
            });
        }
        outcome
    }
}
