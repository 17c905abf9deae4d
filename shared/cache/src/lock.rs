//! Locks that several processes share: one holder at a time, for a while.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::error::CacheError;
use crate::op::{self, FromReply};
use crate::port::Reply;
use crate::script::{ACQUIRE, EXTEND, FENCE_TTL, RELEASE, number};
use crate::store::Store;

/// The first and the longest pause before a lock that is held is tried again.
const PAUSES: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(100)];

/// A lock that this process took. It ends with its lease, whatever its holder believes: a process that slept
/// past it works on beside the next one. So **the token protects only where the resource checks it**: it keeps the
/// highest that it has seen, and refuses a lower one. The lock alone protects nothing for sure.
///
/// Dropped, it is given back soon; a process that dies leaves it to the end of its lease.
#[derive(Debug)]
pub struct Lock {
    store: Store,
    key: String,
    /// `token:nonce`; `None` once it was given back.
    owner: Option<Bytes>,
    token: u64,
}

/// What became of an attempt at a lock.
#[derive(Debug)]
pub(crate) enum Acquired {
    /// Somebody has it.
    Held,
    /// It is ours.
    Mine(Lock),
    /// The value that it is for is there.
    Found(Bytes),
}

impl Store {
    /// Takes the lock `name` for `lease`, if nobody has it.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn lock(&self, name: &str, lease: Duration) -> Result<Option<Lock>, CacheError> {
        let fence = format!("fence:{name}");
        match self.acquire(name, &fence, None, lease).await? {
            Acquired::Mine(lock) => Ok(Some(lock)),
            Acquired::Held | Acquired::Found(_) => Ok(None),
        }
    }

    /// The same, and tries for as long as `patience`.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn lock_within(
        &self,
        name: &str,
        lease: Duration,
        patience: Duration,
    ) -> Result<Option<Lock>, CacheError> {
        let mut pauses = Pauses::until(Instant::now() + patience);
        loop {
            if let Some(lock) = self.lock(name, lease).await? {
                return Ok(Some(lock));
            }
            if !pauses.pause().await {
                return Ok(None);
            }
        }
    }

    pub(crate) async fn acquire(
        &self,
        name: &str,
        fence: &str,
        value: Option<&str>,
        lease: Duration,
    ) -> Result<Acquired, CacheError> {
        let key = lock_key(name);
        let keys = [key.as_str(), fence];
        let keys = [&keys[..], value.as_slice()].concat();
        let nonce = Uuid::new_v4().simple().to_string();
        let args = vec![nonce.into(), millis(lease), millis(FENCE_TTL)];
        let answer: Vec<Reply> = self.run(op::call(&ACQUIRE, &keys, args)).await?;
        let Ok([Reply::Number(outcome), what]) = <[Reply; 2]>::try_from(answer) else {
            return Err(CacheError::unexpected("of the script"));
        };
        if outcome == 0 {
            return Ok(Acquired::Held);
        }
        let bytes = Bytes::from_reply(what)?;
        if outcome == 2 {
            return Ok(Acquired::Found(bytes));
        }
        let token = bytes.split(|byte| *byte == b':').next();
        let token = number(token.unwrap_or_default())?.unsigned_abs();
        Ok(Acquired::Mine(Lock {
            store: self.clone(),
            key,
            owner: Some(bytes),
            token,
        }))
    }
}

/// The key of the lock `name`.
pub(crate) fn lock_key(name: &str) -> String {
    format!("lock:{name}")
}

impl Lock {
    /// Higher than that of every holder before.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Has it end after `lease` from now; answers false if it is somebody else's by now.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn extend(&self, lease: Duration) -> Result<bool, CacheError> {
        let args = vec![self.owner.clone().unwrap_or_default(), millis(lease)];
        self.store.run(op::call(&EXTEND, &[&self.key], args)).await
    }

    /// Extends it for as long as it is polled. A store that is away, or a lock that was lost, ends nothing.
    pub(crate) async fn renew(&self, lease: Duration) -> Infallible {
        loop {
            sleep(lease / 3).await;
            drop(self.extend(lease).await);
        }
    }

    /// Gives it back; answers false if it was somebody else's by then.
    ///
    /// # Errors
    /// When the store is away. It is given back soon nevertheless, or ends with its lease.
    pub async fn release(mut self) -> Result<bool, CacheError> {
        self.give_back(None).await
    }

    /// The same, and writes the value that it was for under a key, if the lock is still ours.
    pub(crate) async fn fill(
        mut self,
        key: &str,
        value: Bytes,
        ttl: Duration,
    ) -> Result<bool, CacheError> {
        self.give_back(Some((key, value, ttl))).await
    }

    async fn give_back(
        &mut self,
        value: Option<(&str, Bytes, Duration)>,
    ) -> Result<bool, CacheError> {
        let mut keys = vec![self.key.as_str()];
        let mut args = vec![self.owner.clone().unwrap_or_default()];
        if let Some((key, value, ttl)) = value {
            keys.push(key);
            args.extend([value, millis(ttl)]);
        }
        let answer = self.store.run(op::call(&RELEASE, &keys, args)).await;
        if answer.is_ok() {
            self.owner = None;
        }
        answer
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Without a runtime nothing can be asked any more: the lease ends it.
        if let (Some(owner), Ok(runtime)) = (self.owner.take(), Handle::try_current()) {
            let (store, key) = (self.store.clone(), std::mem::take(&mut self.key));
            let release = async move {
                let release = op::call::<bool>(&RELEASE, &[&key], vec![owner]);
                if let Err(error) = store.run(release).await {
                    tracing::debug!(%error, key, "a lock is left to the end of its lease");
                }
            };
            self.store.tasks().spawn_on(release, &runtime);
        }
    }
}

/// Growing pauses, until a time.
pub(crate) struct Pauses {
    next: Duration,
    until: Instant,
}

impl Pauses {
    pub fn until(until: Instant) -> Self {
        let next = PAUSES[0];
        Self { next, until }
    }

    /// Waits; answers false without it when the time is over.
    pub async fn pause(&mut self) -> bool {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        let pause = self.next.mul_f64(rand::rng().random_range(0.75..1.0));
        self.next = (self.next * 2).min(PAUSES[1]);
        sleep(pause.min(left)).await;
        true
    }
}

/// As an argument of a script.
fn millis(time: Duration) -> Bytes {
    time.as_millis().max(1).to_string().into()
}
