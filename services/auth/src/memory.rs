//! The way from a write to the memory of changes: after the commit, and where nobody knows whether
//! there was one.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use blocks::Clock;
use chrono::{DateTime, TimeDelta, Utc};
use sql::{StoreError, Tx};
use uuid::Uuid;

use crate::error::AuthError;
use crate::revocations::{Change, Revocations};
use crate::{Auth, store};

/// The memory of changes with what it takes to date them, for use after a commit.
pub(crate) struct Memory {
    pub revocations: Arc<Revocations>,
    pub clock: Arc<dyn Clock>,
    pub token_ttl: TimeDelta,
}

impl Memory {
    /// Takes note of changes that were committed.
    pub fn apply(&self, changes: &[Change]) {
        for change in changes {
            self.revocations.apply(*change, self.clock.now());
        }
    }

    /// When the youngest token of this moment has expired: until then a change matters.
    pub fn until(&self) -> DateTime<Utc> {
        self.clock.now() + self.token_ttl
    }
}

/// Tells of `changes`: this process after the commit, other replicas by it.
pub(crate) async fn tell(
    tx: &mut Tx,
    memory: Memory,
    changes: Vec<Change>,
) -> Result<(), StoreError> {
    store::add_changes(tx, &changes).await?;
    tx.after_commit(move || memory.apply(&changes));
    Ok(())
}

/// What is to be told of sessions that ended; each comes with when its last token expires.
pub(crate) fn ended(sessions: &[(Uuid, DateTime<Utc>)]) -> Vec<Change> {
    let ended = |(session, until): &(Uuid, DateTime<Utc>)| Change::SessionEnded {
        session: *session,
        until: *until,
    };
    sessions.iter().map(ended).collect()
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
            let memory = auth.memory();
            memory.apply(&[Change::AccountChanged {
                user_id,
                version,
                until: memory.until(),
            }]);
        }
        outcome
    }
}
