//! Brings writes into the memory of changes: after the commit, and after a commit whose outcome is
//! unknown.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use sql::{StoreError, Tx};
use uuid::Uuid;

use crate::domain::AccountEvent;
use crate::error::AuthError;
use crate::integration::publish;
use crate::revocations::Change;
use crate::{Auth, store};

/// A write that changes an account.
#[derive(Clone)]
pub(crate) struct AccountWrite {
    auth: Auth,
    user_id: i64,
    /// Why sessions end, where that is not their owner's wish.
    reason: Option<&'static str>,
    /// The version that it gives the account. Known even if the COMMIT's answer is lost.
    reached: Arc<AtomicI64>,
}

impl Auth {
    /// Runs `work` as a write that changes an account. If its outcome is unknown, the account must be
    /// read again before memory is trusted: the write may have ended a session.
    pub(crate) async fn write_account<T, F>(&self, user_id: i64, work: F) -> Result<T, AuthError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx, AccountWrite) -> BoxFuture<'t, Result<T, AuthError>>
            + Send
            + 'static,
    {
        let write = AccountWrite {
            auth: self.clone(),
            user_id,
            reason: None,
            reached: Arc::default(),
        };
        let of_work = write.clone();
        let outcome = self.db.write(move |tx| work(tx, of_work)).await;
        let version = write.reached.load(Ordering::Acquire);
        if version > 0 && matches!(outcome, Err(AuthError::Store(StoreError::Unavailable(_)))) {
            self.remember(&[write.changed(version)]);
        }
        outcome
    }

    /// Enters committed changes into memory.
    fn remember(&self, changes: &[Change]) {
        for change in changes {
            self.revocations.apply(*change, self.clock.now());
        }
    }
}

impl AccountWrite {
    /// The same write, whose events say why sessions end.
    pub fn because(self, reason: &'static str) -> Self {
        let reason = Some(reason);
        Self { reason, ..self }
    }

    /// Publishes the end of `sessions`, each with the expiry of its last token, as versions after
    /// `before`, and tells it with `more`.
    pub async fn end(
        self,
        tx: &mut Tx,
        before: i64,
        sessions: &[(Uuid, DateTime<Utc>)],
        more: Option<Change>,
    ) -> Result<(), AuthError> {
        let (user_id, reason, mut version) = (self.user_id, self.reason, before);
        let mut changes = Vec::with_capacity(sessions.len() + 1);
        for (session, until) in sessions.iter().copied() {
            version += 1;
            let ended = AccountEvent::SessionEnded {
                user_id,
                session,
                reason,
            };
            publish(tx, ended, version).await?;
            changes.push(Change::SessionEnded { session, until });
        }
        let version = advance(tx, user_id, version - before).await?;
        changes.extend(more);
        self.tell(tx, version, changes).await
    }

    /// Ends all sessions but one, as versions after `before`; returns how many lived. Without `but` a session that
    /// begins in this moment has ended, too.
    pub async fn end_all(
        self,
        tx: &mut Tx,
        before: i64,
        but: Option<Uuid>,
    ) -> Result<usize, AuthError> {
        let user_id = self.user_id;
        let ended = store::end_sessions(tx, user_id, but, self.until()).await?;
        let earlier = Change::SessionsBefore {
            user_id,
            time: tx.now(),
            until: self.until(),
        };
        let earlier = but.is_none().then_some(earlier);
        self.end(tx, before, &ended, earlier).await?;
        Ok(ended.len())
    }

    /// Passes `changes` on that give the account `version`: to other replicas with the commit, to this
    /// process's memory after it.
    pub async fn tell(
        self,
        tx: &mut Tx,
        version: i64,
        changes: Vec<Change>,
    ) -> Result<(), AuthError> {
        self.reached.store(version, Ordering::Release);
        store::add_changes(tx, &changes).await?;
        tx.after_commit(move || self.auth.remember(&changes));
        Ok(())
    }

    /// The account is another one since `version`: its name or role.
    pub fn changed(&self, version: i64) -> Change {
        Change::AccountChanged {
            user_id: self.user_id,
            version,
            until: self.until(),
        }
    }

    /// The expiry of a token made now: until then a change matters.
    pub fn until(&self) -> DateTime<Utc> {
        self.auth.clock.now() + self.auth.token_ttl
    }
}

/// Adds `events` to the account's version, under its row lock, and answers it.
pub(crate) async fn advance(tx: &mut Tx, user_id: i64, events: i64) -> Result<i64, AuthError> {
    store::advance(tx, user_id, events)
        .await?
        .ok_or(AuthError::NoAccount)
}
