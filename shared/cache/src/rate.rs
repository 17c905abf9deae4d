//! Limits of rates that all processes share.

use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;

use crate::error::CacheError;
use crate::op;
use crate::script::TAKE;
use crate::store::Store;

/// So many in a period, each given back evenly: the generic cell rate algorithm.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// What is limited.
    pub name: &'static str,
    /// How many at once, and in each period.
    pub limit: NonZeroU32,
    /// The time in which all are given back.
    pub period: Duration,
}

/// What became of an attempt: the fields of the header `RateLimit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Whether it may be done.
    pub allowed: bool,
    /// How many there are at most.
    pub limit: u32,
    /// How many are left.
    pub remaining: u32,
    /// The time until all are there again.
    pub reset: Duration,
    /// The time until it may be tried again; zero when it may be done now.
    pub retry_after: Duration,
}

impl Store {
    /// Takes `many` of what `who` may do at `rate`, or nothing. More than the limit is never allowed.
    ///
    /// # Errors
    /// When the store is away or full: the caller decides what that means.
    pub async fn take(
        &self,
        rate: &Rate,
        who: &str,
        many: NonZeroU32,
    ) -> Result<Taken, CacheError> {
        let limit = rate.limit.get();
        let every = (rate.period / limit).as_micros().max(1);
        let key = format!("rate:{}:{who}", rate.name);
        let args = [every, limit.into(), many.get().into()];
        let args = args.map(|arg| Bytes::from(arg.to_string())).into();
        let answer: Vec<i64> = self.run(op::call(&TAKE, &[&key], args)).await?;
        let Ok([allowed, remaining, wait, reset]) = <[i64; 4]>::try_from(answer) else {
            return Err(CacheError::unexpected("of the script"));
        };
        let time = |micros: i64| Duration::from_micros(micros.try_into().unwrap_or_default());
        Ok(Taken {
            allowed: allowed == 1,
            limit,
            remaining: remaining.try_into().unwrap_or_default(),
            reset: time(reset),
            retry_after: time(wait),
        })
    }
}
