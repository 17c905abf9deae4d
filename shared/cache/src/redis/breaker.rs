//! A circuit breaker: while a server does not answer, callers don't pile up before it.

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
    /// Open (calls fail at once) until this time; `None` when it is closed.
    open_until: Mutex<Option<Instant>>,
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
        self.admit()?;
        let answer = call.await;
        self.judge(answer.as_ref().is_err_and(RedisError::is_io_error));
        Ok(answer)
    }

    fn admit(&self) -> Result<(), BreakerOpen> {
        let mut open_until = self.open_until.lock();
        if let Some(until) = *open_until {
            let now = Instant::now();
            if now < until {
                return Err(BreakerOpen);
            }
            *open_until = Some(now + PROBE);
        }
        Ok(())
    }

    fn judge(&self, is_away: bool) {
        let mut open_until = self.open_until.lock();
        match (is_away, &*open_until) {
            (true, _) => *open_until = Some(Instant::now() + OPEN),
            (false, Some(_)) => *open_until = None,
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
        breaker.admit().unwrap();
        breaker.judge(true);
        assert!(breaker.admit().is_err());
        tokio::time::advance(OPEN).await;
        breaker.admit().unwrap();
        assert!(breaker.admit().is_err(), "one probe is under way");
        tokio::time::advance(PROBE).await;
        breaker.admit().unwrap();
        breaker.judge(false);
        breaker.admit().unwrap();
        breaker.admit().unwrap();
    }
}
