//! A circuit breaker: while a server does not answer, callers don't pile up before it.
//!
//! Not `http_client::Breaker`: of an API's many servers one failure says little, so a rate opens that. All calls
//! share one Redis and its connection, so one unanswered call says that the next ones would wait, too.

use std::time::Duration;

use parking_lot::Mutex;
use redis::{RedisError, RedisResult};
use tokio::time::Instant;

/// The time for which the circuit breaker stays open after an unanswered call: calls fail at once.
const OPEN: Duration = Duration::from_millis(200);
/// The time that the half-open breaker waits for its one probe before it lets the next one through.
const PROBE: Duration = Duration::from_millis(600);

/// The circuit breaker is open: a call was not answered.
#[derive(Debug, thiserror::Error)]
#[error("Redis did not answer a moment ago")]
pub struct BreakerOpen;

/// A circuit breaker before the calls to a server.
#[derive(Debug, Default)]
pub struct Breaker {
    current: Mutex<Current>,
}

#[derive(Debug, Default)]
struct Current {
    /// Open (calls fail at once) until this time; `None` when it is closed.
    open_until: Option<Instant>,
    /// The number of changes and probes: what began before the last one says nothing any more.
    epoch: u64,
}

impl Current {
    fn change(&mut self, open_until: Option<Instant>) {
        self.open_until = open_until;
        self.epoch += 1;
    }
}

impl Breaker {
    /// Makes a call, unless the breaker is open.
    ///
    /// # Errors
    /// When it is open.
    pub async fn guard<T>(
        &self,
        call: impl Future<Output = RedisResult<T>>,
    ) -> Result<RedisResult<T>, BreakerOpen> {
        let epoch = self.admit()?;
        let answer = call.await;
        self.judge(epoch, answer.as_ref().is_err_and(RedisError::is_io_error));
        Ok(answer)
    }

    /// Leave for one call; answers the epoch in which it begins.
    fn admit(&self) -> Result<u64, BreakerOpen> {
        let mut current = self.current.lock();
        if let Some(until) = current.open_until {
            let now = Instant::now();
            if now < until {
                return Err(BreakerOpen);
            }
            current.change(Some(now + PROBE));
        }
        Ok(current.epoch)
    }

    fn judge(&self, epoch: u64, is_away: bool) {
        let mut current = self.current.lock();
        if current.epoch != epoch {
            return;
        }
        match (is_away, current.open_until) {
            (true, _) => current.change(Some(Instant::now() + OPEN)),
            (false, Some(_)) => current.change(None),
            (false, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_open_breaker_lets_one_probe_through_at_a_time() {
        let breaker = Breaker::default();
        let call = breaker.admit().unwrap();
        breaker.judge(call, true);
        assert!(breaker.admit().is_err());
        tokio::time::advance(OPEN).await;
        breaker.admit().unwrap();
        assert!(breaker.admit().is_err(), "one probe is under way");
        tokio::time::advance(PROBE).await;
        let probe = breaker.admit().unwrap();
        breaker.judge(probe, false);
        breaker.admit().unwrap();
        breaker.admit().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_began_before_a_change_does_not_count_after_it() {
        let breaker = Breaker::default();
        let [first, late, later] = [(); 3].map(|()| breaker.admit().unwrap());
        breaker.judge(first, true);
        breaker.judge(late, false);
        assert!(breaker.admit().is_err(), "an older answer closes nothing");
        tokio::time::advance(OPEN).await;
        let slow = breaker.admit().unwrap();
        tokio::time::advance(PROBE).await;
        let probe = breaker.admit().unwrap();
        breaker.judge(slow, true);
        breaker.judge(probe, false);
        breaker.judge(later, true);
        breaker.admit().expect("an older failure opens nothing");
    }
}
