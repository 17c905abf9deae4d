//! Changes by other replicas of auth: sessions they ended, accounts they changed.
//!
//! They write each change into a table, in its transaction, and send a NOTIFY. This replica reads
//! the table at each notification, and every half second, because notifications get lost with
//! connections. If its last read is over a second old, it trusts no memory: every token is looked up
//! in the database. With the changes it reads the signing keys: another replica may have made one.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use blocks::backoff::Backoff;
use blocks::error::chain;
use blocks::service::Background;
use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use sql::{Db, StoreError};
use sqlx::postgres::PgListener;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::error::OpenError;
use crate::keyring::Keyring;
use crate::revocations::Revocations;
use crate::store::{self, Place};

/// Poll interval of the table.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long memory is trusted after a read of the table.
const FRESH: TimeDelta = TimeDelta::seconds(1);
/// Interval between two removals of expired changes.
const TIDY_EVERY: Duration = Duration::from_mins(10);

/// The reader of other replicas' changes.
pub(crate) struct Replicas {
    db: Db,
    url: String,
    revocations: Arc<Revocations>,
    keyring: Arc<Keyring>,
    place: Mutex<Place>,
    /// The end of trust in memory, in ms since 1970.
    fresh_until: AtomicI64,
}

impl Replicas {
    /// Begins at the table's current place: data loaded after this contains all changes before it.
    pub async fn begin(
        db: Db,
        url: String,
        revocations: Arc<Revocations>,
        keyring: Arc<Keyring>,
    ) -> Result<Self, StoreError> {
        let (_, place) = store::changes_since(&mut db.read().await?, None).await?;
        Ok(Self {
            db,
            url,
            revocations,
            keyring,
            place: Mutex::new(place),
            fresh_until: AtomicI64::new(i64::MIN),
        })
    }

    /// True if memory can be trusted at `now`.
    pub fn is_fresh(&self, now: DateTime<Utc>) -> bool {
        now.timestamp_millis() < self.fresh_until.load(Ordering::Acquire)
    }

    /// Reads new changes and keys.
    pub async fn look(&self) -> Result<(), OpenError> {
        // The time before the read: changes committed during it may be missing.
        let now = self.db.settings().clock.now();
        let since = self.place.lock().clone();
        let (changes, place) =
            store::changes_since(&mut self.db.read().await?, Some(&since)).await?;
        self.keyring.reload(&self.db).await?;
        for change in changes {
            self.revocations.apply(change, now);
        }
        *self.place.lock() = place;
        let until = (now + FRESH).timestamp_millis();
        self.fresh_until.store(until, Ordering::Release);
        Ok(())
    }

    async fn listen(&self) -> Result<PgListener, StoreError> {
        let mut listener = PgListener::connect(&self.url).await?;
        // A lost connection shows at once here, and is made again with pauses.
        listener.eager_reconnect(false);
        listener
            .listen(&store::bell(&mut self.db.read().await?).await?)
            .await?;
        Ok(listener)
    }

    /// Wakes `bell` at each notification, for ever.
    async fn hear(&self, bell: &tokio::sync::Notify) {
        let mut backoff = Backoff::default();
        loop {
            let heard = async {
                let mut listener = self.listen().await?;
                backoff.reset();
                while listener.try_recv().await?.is_some() {
                    bell.notify_one();
                }
                Ok::<_, StoreError>(())
            };
            if let Err(error) = heard.await {
                let error = chain(&error);
                tracing::debug!(%error, "no notifications: changes are read every half second");
            }
            tokio::time::sleep(backoff.pause()).await;
        }
    }

    async fn follow(&self, bell: &tokio::sync::Notify) {
        let mut turn = tokio::time::interval(LOOK_EVERY);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_away = false;
        let mut tidy_at = Instant::now() + TIDY_EVERY;
        loop {
            tokio::select! {
                _ = turn.tick() => {}
                () = bell.notified() => {}
            }
            match self.look().await {
                Ok(()) if is_away => {
                    is_away = false;
                    tracing::info!("what other replicas do is known again");
                }
                Err(error) if !is_away => {
                    is_away = true;
                    let error = chain(&error);
                    tracing::warn!(
                        %error,
                        "what other replicas do is unknown: every token is looked up"
                    );
                }
                Ok(()) | Err(_) => {}
            }
            if Instant::now() >= tidy_at {
                tidy_at = Instant::now() + TIDY_EVERY;
                let now = self.db.settings().clock.now();
                let tidied = self
                    .db
                    .write(move |tx| Box::pin(store::forget_changes(tx, now)));
                if let Err(error) = tidied.await {
                    tracing::debug!(error = %chain(&error), "old changes stay for now");
                }
            }
        }
    }
}

#[async_trait]
impl Background for Replicas {
    fn name(&self) -> &'static str {
        "the feed of revocations"
    }

    async fn run(&self, stop: CancellationToken) -> anyhow::Result<()> {
        let bell = tokio::sync::Notify::new();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.hear(&bell) => {}
            () = self.follow(&bell) => {}
        }
        Ok(())
    }
}
