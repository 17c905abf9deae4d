//! Brings writes into the memory of changes: after the commit, and after a commit whose outcome is
//! unknown.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use blocks::Clock;
use chrono::{DateTime, TimeDelta, Utc};
use sql::{StoreError, Tx};
use uuid::Uuid;

use crate::error::AuthError;
use crate::revocations::{Change, Revocations};
use crate::{Auth, store};

/// The memory of changes, with the clock and the tokens' lifetime to date them.
pub(crate) struct Memory {
    pub revocations: Arc<Revocations>,
    pub clock: Arc<dyn Clock>,
    pub token_ttl: TimeDelta,
}

impl Memory {
    /// Enters committed changes.
    pub fn apply(&self, changes: &[Change]) {
        for change in changes {
            self.revocations.apply(*change, self.clock.now());
        }
    }

    /// The expiry of a token made now: until then a change matters.
    pub fn until(&self) -> DateTime<Utc> {
        self.clock.now() + self.token_ttl
    }
}

/// Passes `changes` on: to other replicas with the commit, to this process's memory after it.
pub(crate) async fn tell(
    tx: &mut Tx,
    memory: Memory,
    changes: Vec<Change>,
) -> Result<(), StoreError> {
    store::add_changes(tx, &changes).await?;
    tx.after_commit(move || memory.apply(&changes));
    Ok(())
}

/// The changes for ended sessions, each with the expiry of its last token.
pub(crate) fn ended(sessions: &[(Uuid, DateTime<Utc>)]) -> Vec<Change> {
    let ended = |(session, until): &(Uuid, DateTime<Utc>)| Change::SessionEnded {
        session: *session,
        until: *until,
    };
    sessions.iter().map(ended).collect()
}

/// The version that a write gives an account. The caller has it even if the COMMIT's answer is
/// lost.
#[derive(Clone, Default)]
pub(crate) struct Reached(Arc<AtomicI64>);

impl Reached {
    /// Notes that the write is about to give the account `version`.
    pub fn set(&self, version: i64) {
        self.0.store(version, Ordering::Release);
    }

    /// Passes on the write's outcome. If it is unknown, the account must be read again before
    /// memory is trusted: the write may have ended a session.
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
