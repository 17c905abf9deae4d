//! A rate that is held while the store that processes share is away.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blocks::error::chain;

use crate::error::CacheError;
use crate::rate::{Rate, Taken};
use crate::store::Store;

/// A rate, the store in which all processes count it, and one in which this process remembers what that said last.
/// The second decides where there is no first, and while that is away: it goes on from there, and nobody is let
/// through uncounted.
#[derive(Debug, Clone)]
pub struct Limiter {
    rate: Rate,
    own: Store,
    shared: Option<Shared>,
}

#[derive(Debug, Clone)]
struct Shared {
    store: Store,
    /// True after a call that failed: a change is logged once.
    is_away: Arc<AtomicBool>,
}

impl Limiter {
    /// Counts `rate` in `shared`, and beside it in `own`, a store in memory.
    pub fn new(rate: Rate, own: Store, shared: Option<Store>) -> Self {
        let shared = shared.map(|store| Shared {
            store,
            is_away: Arc::default(),
        });
        Self { rate, own, shared }
    }

    /// Takes `many` of what `who` may do, or nothing.
    ///
    /// # Errors
    /// When this process can't count either: its store is full of what does not give way.
    pub async fn take(&self, who: &str, many: NonZeroU32) -> Result<Taken, CacheError> {
        if let Some(shared) = &self.shared {
            let taken = shared.store.take(&self.rate, who, many).await;
            if let Some(taken) = shared.heard(&self.rate, taken) {
                self.own.set_taken(&self.rate, who, taken.reset).await?;
                return Ok(taken);
            }
        }
        self.own.take(&self.rate, who, many).await
    }

    /// Gives `many` back that `who` took and did not use.
    ///
    /// # Errors
    /// When this process can't count.
    pub async fn give_back(&self, who: &str, many: NonZeroU32) -> Result<(), CacheError> {
        self.own.give_back(&self.rate, who, many).await?;
        if let Some(shared) = self.answering() {
            let given = shared.store.give_back(&self.rate, who, many).await;
            shared.heard(&self.rate, given);
        }
        Ok(())
    }

    /// Gives all back that each of `who` took.
    ///
    /// # Errors
    /// When this process can't count.
    pub async fn forgive(&self, who: &[&str]) -> Result<(), CacheError> {
        self.own.forgive(&self.rate, who).await?;
        if let Some(shared) = self.answering() {
            let forgiven = shared.store.forgive(&self.rate, who).await;
            shared.heard(&self.rate, forgiven);
        }
        Ok(())
    }

    /// The shared store, unless it did not answer the last time. Then only [`take`](Self::take) asks it, so a
    /// caller waits for it once. What is not given back there ends by itself within the period.
    fn answering(&self) -> Option<&Shared> {
        let shared = self.shared.as_ref()?;
        (!shared.is_away.load(Ordering::Relaxed)).then_some(shared)
    }
}

impl Shared {
    /// The answer, if there is one; logs when the store fails and when it answers again.
    fn heard<T>(&self, rate: &Rate, answer: Result<T, CacheError>) -> Option<T> {
        let was_away = self.is_away.swap(answer.is_err(), Ordering::Relaxed);
        match &answer {
            Err(error) if !was_away => tracing::warn!(
                rate = rate.name,
                error = chain(error),
                "a rate is counted in each process by itself: their store failed"
            ),
            Ok(_) if was_away => {
                tracing::info!(
                    rate = rate.name,
                    "a rate is counted for all processes again"
                );
            }
            _ => {}
        }
        answer.ok()
    }
}
