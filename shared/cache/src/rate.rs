//! Limits of rates that all processes share.

use std::num::NonZeroU32;
use std::time::Duration;

use blocks::problem::RateLimit;
use bytes::Bytes;

use crate::error::CacheError;
use crate::op;
use crate::script::{GIVE_BACK, SET_TAKEN, TAKE};
use crate::store::Store;

/// So many in a period, each given back evenly: the generic cell rate algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// What is limited, in the store and to clients.
    pub name: &'static str,
    /// How many at once, and in each period.
    pub limit: NonZeroU32,
    /// The time in which all are given back.
    pub period: Duration,
}

impl Rate {
    fn key(&self, who: &str) -> String {
        format!("rate:{}:{who}", self.name)
    }

    /// The time in which one is given back, in µs.
    fn every(&self) -> u128 {
        (self.period / self.limit.get()).as_micros().max(1)
    }
}

/// What became of an attempt. A refusal is told to clients by `Problem::rate_limit(taken)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Whether it may be done.
    pub allowed: bool,
    /// The rate.
    pub rate: Rate,
    /// How many are left.
    pub remaining: u32,
    /// The time until all are there again.
    pub reset: Duration,
    /// The time until it may be tried again; zero when it may be done now.
    pub retry_after: Duration,
}

impl From<Taken> for RateLimit {
    fn from(taken: Taken) -> Self {
        let seconds = |time: Duration| {
            let whole = time.as_secs() + u64::from(time.subsec_nanos() > 0);
            u32::try_from(whole.max(1)).unwrap_or(u32::MAX)
        };
        Self {
            policy: taken.rate.name,
            quota: taken.rate.limit.get(),
            window: seconds(taken.rate.period),
            remaining: taken.remaining,
            retry_after: seconds(taken.retry_after),
        }
    }
}

impl Store {
    /// Takes `many` of what `who` may do at `rate`, or nothing. More than the limit is never allowed.
    ///
    /// # Errors
    /// When the store is away or full: the caller decides what that means, or a [`Limiter`](crate::Limiter).
    pub async fn take(
        &self,
        rate: &Rate,
        who: &str,
        many: NonZeroU32,
    ) -> Result<Taken, CacheError> {
        let args = [rate.every(), rate.limit.get().into(), many.get().into()];
        let take = op::call(&TAKE, &[&rate.key(who)], texts(args));
        let answer: Vec<i64> = self.run(take).await?;
        let Ok([allowed, remaining, wait, reset]) = <[i64; 4]>::try_from(answer) else {
            return Err(CacheError::unexpected("of the script"));
        };
        let time = |micros: i64| Duration::from_micros(micros.try_into().unwrap_or_default());
        Ok(Taken {
            allowed: allowed == 1,
            rate: *rate,
            remaining: remaining.try_into().unwrap_or_default(),
            reset: time(reset),
            retry_after: time(wait),
        })
    }

    /// Gives `many` back that `who` took at `rate` and did not use.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn give_back(
        &self,
        rate: &Rate,
        who: &str,
        many: NonZeroU32,
    ) -> Result<(), CacheError> {
        let args = texts([rate.every(), many.get().into()]);
        self.run(op::call(&GIVE_BACK, &[&rate.key(who)], args))
            .await
    }

    /// Has `who` have taken as much at `rate` as is given back in `reset`: what another store said.
    ///
    /// # Errors
    /// When the store is away or full.
    pub async fn set_taken(
        &self,
        rate: &Rate,
        who: &str,
        reset: Duration,
    ) -> Result<(), CacheError> {
        let args = texts([reset.as_micros()]);
        self.run(op::call(&SET_TAKEN, &[&rate.key(who)], args))
            .await
    }

    /// Gives all back that each of `who` took at `rate`.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn forgive(&self, rate: &Rate, who: &[&str]) -> Result<(), CacheError> {
        let mut pipeline = self.pipeline();
        let removals = who
            .iter()
            .map(|who| pipeline.add(op::remove(&rate.key(who))));
        let removals: Vec<_> = removals.collect();
        let mut answers = pipeline.run().await?;
        removals
            .into_iter()
            .try_for_each(|removal| answers.take(removal).map(drop))
    }
}

fn texts<const N: usize>(numbers: [u128; N]) -> Vec<Bytes> {
    numbers.map(|arg| Bytes::from(arg.to_string())).into()
}
