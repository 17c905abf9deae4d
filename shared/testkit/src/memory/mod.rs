//! A store in memory: for tests of a service whose state is behind a port of its own. One write at a time; a
//! write that fails changes nothing.
//!
//! | port | adapter |
//! |---|---|
//! | [`Outbox`](blocks::outbox::Outbox) and its lease, [`InspectOutbox`](blocks::outbox::InspectOutbox), [`Check`] | [`Memory`] |
//! | [`ConsumerStore`](blocks::consumer::ConsumerStore) | [`MemoryConsumer`] |
//! | the service's own | one that the service writes over a [`Memory`] |
//!
//! The guide docs/guides/in-memory-stores.md shows the last one.

mod consumer;
mod outbox;

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use blocks::bus::MAX_EVENT_BYTES;
use blocks::error::BoxError;
use blocks::extract::{KeyRefused, KeyedRequest};
use blocks::outbox::{HandOver, Pending};
use blocks::service::Check;
use blocks::{Clock, context};
use chrono::{DateTime, Utc};
use events::{Envelope, Event};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sql::{FaultPoint, Faults, StoreError};
use tokio::sync::{Mutex, MutexGuard, mpsc};
use uuid::Uuid;

pub use self::consumer::{Handler, MemoryConsumer};

use self::consumer::Group;
use self::outbox::{Held, Rows};
use crate::faults::Fails;

/// The state of a service: all that its own port keeps.
pub trait State: Clone + Default + Send + Sync + 'static {}

impl<S: Clone + Default + Send + Sync + 'static> State for S {}

/// A store. Cheap to clone: all clones are one store.
pub struct Memory<S>(Arc<Inner<S>>);

impl<S> Clone for Memory<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Inner<S> {
    service: &'static str,
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept<S>>,
    is_closed: AtomicBool,
    faults: parking_lot::Mutex<Arc<dyn Faults>>,
    hand_over: HandOver,
    committed: parking_lot::Mutex<Option<mpsc::Receiver<Vec<Pending>>>>,
}

/// All that the store holds.
#[derive(Clone, Default)]
struct Kept<S> {
    state: S,
    outbox: Rows,
    lease: Option<Held>,
    /// By operation, account and key.
    answers: BTreeMap<(&'static str, i64, String), Answer>,
    groups: BTreeMap<&'static str, Group>,
}

/// The answer to a request under a key.
#[derive(Clone)]
struct Answer {
    fingerprint: String,
    json: String,
    created_at: DateTime<Utc>,
}

impl<S: State> Memory<S> {
    /// An empty store of `service`, by `clock`.
    pub fn new(service: &'static str, clock: Arc<dyn Clock>) -> Self {
        let (hand_over, committed) = HandOver::channel();
        Self(Arc::new(Inner {
            service,
            clock,
            kept: Mutex::default(),
            is_closed: AtomicBool::new(false),
            faults: parking_lot::Mutex::new(Fails::never()),
            hand_over,
            committed: parking_lot::Mutex::new(Some(committed)),
        }))
    }

    /// Its clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// Reads the state.
    ///
    /// # Errors
    /// When it was closed.
    pub async fn read<T>(&self, look: impl FnOnce(&S) -> T) -> Result<T, StoreError> {
        Ok(look(&self.kept().await?.state))
    }

    /// Writes by `work`, with the events that it publishes: all of it, or after an error nothing.
    ///
    /// # Errors
    /// Those of `work`, or that the store was closed or is to fail.
    pub async fn write<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&mut Tx<S>) -> Result<T, E>,
    ) -> Result<T, E> {
        let (kept, mut tx) = self.begin().await?;
        let done = work(&mut tx)?;
        self.commit(kept, tx)?;
        Ok(done)
    }

    /// The number of idempotency keys that it remembers.
    ///
    /// # Errors
    /// When it was closed.
    pub async fn keys(&self) -> Result<usize, StoreError> {
        Ok(self.kept().await?.answers.len())
    }

    /// Loses everything, as when it is restored from a copy from before the first write.
    pub async fn empty(&self) {
        *self.0.kept.lock().await = Kept::default();
    }

    /// Nobody reaches it any more.
    pub fn close(&self) {
        self.0.is_closed.store(true, Ordering::SeqCst);
    }

    /// Fails the writes that `faults` names.
    pub fn inject(&self, faults: Arc<dyn Faults>) {
        *self.0.faults.lock() = faults;
    }

    fn fault(&self, point: FaultPoint) -> Result<(), StoreError> {
        if self.0.faults.lock().fails(point) {
            return Err(StoreError::Unavailable("it was to fail".into()));
        }
        Ok(())
    }

    async fn kept(&self) -> Result<MutexGuard<'_, Kept<S>>, StoreError> {
        if self.0.is_closed.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("it was closed".into()));
        }
        Ok(self.0.kept.lock().await)
    }

    async fn begin(&self) -> Result<(MutexGuard<'_, Kept<S>>, Tx<S>), StoreError> {
        self.fault(FaultPoint::BeforeWrite)?;
        let kept = self.kept().await?;
        let tx = Tx {
            kept: kept.clone(),
            service: self.0.service,
            clock: Arc::clone(&self.0.clock),
            hooks: Vec::new(),
        };
        Ok((kept, tx))
    }

    /// Others read and write again once the hooks have run, as after a commit to a file.
    fn commit(&self, mut kept: MutexGuard<'_, Kept<S>>, tx: Tx<S>) -> Result<(), StoreError> {
        self.fault(FaultPoint::BeforeCommit)?;
        let published = tx.kept.outbox.after(&kept.outbox);
        *kept = tx.kept;
        self.fault(FaultPoint::AfterCommit)?;
        for hook in tx.hooks {
            hook();
        }
        self.0.hand_over.give(published);
        Ok(())
    }
}

#[async_trait]
impl<S: State> Check for Memory<S> {
    fn name(&self) -> &'static str {
        "database"
    }

    async fn check(&self) -> Result<(), BoxError> {
        Ok(self.kept().await.map(drop)?)
    }
}

/// A write in progress. It dereferences to the state.
pub struct Tx<S> {
    kept: Kept<S>,
    service: &'static str,
    clock: Arc<dyn Clock>,
    hooks: Vec<Box<dyn FnOnce() + Send>>,
}

impl<S> Deref for Tx<S> {
    type Target = S;
    fn deref(&self) -> &S {
        &self.kept.state
    }
}

impl<S> DerefMut for Tx<S> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.kept.state
    }
}

impl<S: State> Tx<S> {
    /// The current time.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// A fresh `UUIDv7`.
    pub fn id(&self) -> Uuid {
        self.clock.id()
    }

    /// Keeps `event` as version `version` of its subject in the outbox, in this write.
    ///
    /// # Errors
    /// When the event is too large for a topic, or can't be written as JSON.
    pub fn publish<E: Event>(&mut self, event: &E, version: i64) -> Result<(), StoreError> {
        let (id, now, context) = (self.id(), self.now(), context::for_events());
        let envelope = Envelope::new(id, self.service, now, version, context, event)?;
        let bytes = envelope.value.len();
        if bytes > MAX_EVENT_BYTES {
            let limit = MAX_EVENT_BYTES;
            return Err(StoreError::EventTooLarge { bytes, limit });
        }
        self.kept
            .outbox
            .push(E::TYPE, version, envelope.message(), now);
        Ok(())
    }

    /// Runs `then` once this write is committed. Not run after a failure.
    pub fn after_commit(&mut self, then: impl FnOnce() + Send + 'static) {
        self.hooks.push(Box::new(then));
    }

    /// Does `work` as an `operation` of an account, once for the key of `request`; see
    /// [`Db::write_once`](sql::Db::write_once).
    ///
    /// # Errors
    /// Those of `work`, or that the key was used for another request.
    pub fn once<T, E>(
        &mut self,
        (operation, user_id): (&'static str, i64),
        request: Option<KeyedRequest>,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<StoreError> + From<KeyRefused>,
    {
        let Some(KeyedRequest { key, fingerprint }) = request else {
            return work(self);
        };
        let created_at = self.now();
        let is_kept = |answer: &Answer| answer.created_at > created_at - KeyedRequest::KEPT;
        self.kept.answers.retain(|_, answer| is_kept(answer));
        let of = (operation, user_id, key);
        if let Some(answer) = self.kept.answers.get(&of) {
            if answer.fingerprint != fingerprint {
                return Err(KeyRefused::Reused.into());
            }
            return Ok(serde_json::from_str(&answer.json).map_err(StoreError::from)?);
        }
        let done = work(self)?;
        let answer = Answer {
            fingerprint,
            json: serde_json::to_string(&done).map_err(StoreError::from)?,
            created_at,
        };
        self.kept.answers.insert(of, answer);
        Ok(done)
    }

    /// Forgets all keys of an account.
    pub fn forget_keys(&mut self, user_id: i64) {
        self.kept.answers.retain(|(_, of, _), _| *of != user_id);
    }
}
