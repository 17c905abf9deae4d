//! What is tried again, when, and how often at most.

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::error::Kind;
use crate::response::Response;

/// How often a call is tried again, and how much of that an outage may cause.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// The most tries after the first.
    pub most: u32,
    /// The budget: the share of calls that may be tried again.
    pub ratio: f64,
    /// The budget: tries again a second that are granted however few calls there are.
    pub per_second: f64,
    /// The budget: the most that is saved up.
    pub burst: f64,
}

impl Retry {
    /// Nothing is tried again.
    pub const NEVER: Self = Self {
        most: 0,
        ratio: 0.0,
        per_second: 0.0,
        burst: 0.0,
    };
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            most: 2,
            ratio: 0.2,
            per_second: 1.0,
            burst: 10.0,
        }
    }
}

/// A bucket of tokens, one for each try again. Without it, an outage would be met by a multiple of the
/// requests that the server could not answer in the first place.
#[derive(Debug)]
pub(crate) struct Budget {
    settings: Retry,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Budget {
    pub(crate) fn new(settings: Retry) -> Self {
        let bucket = Bucket {
            tokens: settings.burst,
            filled: Instant::now(),
        };
        Self {
            settings,
            bucket: Mutex::new(bucket),
        }
    }

    /// Counts a call.
    pub(crate) fn deposit(&self) {
        self.fill(&mut self.bucket.lock(), self.settings.ratio);
    }

    /// True if one more try is in the budget; it is then taken from it.
    pub(crate) fn withdraw(&self) -> bool {
        let mut bucket = self.bucket.lock();
        self.fill(&mut bucket, 0.0);
        let is_granted = bucket.tokens >= 1.0;
        if is_granted {
            bucket.tokens -= 1.0;
        }
        is_granted
    }

    fn fill(&self, bucket: &mut Bucket, more: f64) {
        let now = Instant::now();
        let waited = now.duration_since(bucket.filled).as_secs_f64();
        bucket.filled = now;
        let tokens = bucket.tokens + more + waited * self.settings.per_second;
        bucket.tokens = tokens.min(self.settings.burst);
    }
}

/// Statuses of servers that may answer better in a while.
pub(crate) const PASSING: [StatusCode; 4] = [
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

/// The least pause before another try; `None` if another may do harm, or will do no good.
pub(crate) fn least_pause(
    outcome: &Result<Response, Kind>,
    is_repeatable: bool,
    now: DateTime<Utc>,
) -> Option<Duration> {
    match outcome {
        Ok(response) if is_repeatable && PASSING.contains(&response.status) => {
            Some(retry_after(&response.headers, now).unwrap_or_default())
        }
        Ok(_) => None,
        Err(kind) => is_passing(kind, is_repeatable).then_some(Duration::ZERO),
    }
}

fn is_passing(kind: &Kind, is_repeatable: bool) -> bool {
    match kind {
        // Nothing was sent.
        Kind::Connect(_) => true,
        // To ask for a token twice is harmless.
        Kind::Token(why) => is_passing(why, true),
        Kind::Idle(_) | Kind::Broken(_) => is_repeatable,
        Kind::Status(status) => is_repeatable && PASSING.contains(status),
        Kind::Request(_)
        | Kind::Open
        | Kind::Certificate(_)
        | Kind::Timeout(_)
        | Kind::TooLarge(_)
        | Kind::Refused(_)
        | Kind::Body(_) => false,
    }
}

/// Nobody waits longer in a call. A greater number could not be added to a time.
const LONGEST_WISH: Duration = Duration::from_hours(24);

/// The time that the server wants to be left alone: a number of seconds, or a date.
pub(crate) fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let said = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wish = if let Ok(seconds) = said.parse() {
        Duration::from_secs(seconds)
    } else {
        let then = DateTime::<Utc>::from(httpdate::parse_http_date(said).ok()?);
        (then - now).to_std().unwrap_or_default()
    };
    Some(wish.min(LONGEST_WISH))
}

#[cfg(test)]
mod tests {
    use blocks::{Clock, ManualClock};
    use bytes::Bytes;
    use http::Method;
    use tokio::time::advance;

    use super::*;
    use crate::error::Asked;

    fn answer(status: u16, after: Option<&str>) -> Response {
        let mut headers = HeaderMap::new();
        if let Some(after) = after {
            headers.insert(RETRY_AFTER, after.parse().unwrap());
        }
        let url = "http://api.example.com".parse().unwrap();
        Response {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: Bytes::new(),
            asked: Asked::new(&"test".into(), Method::GET, url),
        }
    }

    #[test]
    fn only_what_may_be_repeated_is_tried_again() {
        let now = ManualClock::default().now();
        let broken = || Err(Kind::Broken("closed".into()));
        let connect = || Err(Kind::Connect("refused".into()));
        let token = |why| Err(Kind::Token(Box::new(why)));
        for (outcome, once, repeatable) in [
            (connect(), true, true),
            (broken(), false, true),
            (Err(Kind::Idle(Duration::ZERO)), false, true),
            (Err(Kind::Timeout(Duration::ZERO)), false, false),
            (Err(Kind::Open), false, false),
            (Err(Kind::Certificate("expired".into())), false, false),
            (Err(Kind::TooLarge(1)), false, false),
            (token(Kind::Broken("closed".into())), true, true),
            (token(Kind::Status(StatusCode::BAD_GATEWAY)), true, true),
            (token(Kind::Refused("invalid_client")), false, false),
            (Ok(answer(200, None)), false, false),
            (Ok(answer(400, None)), false, false),
            (Ok(answer(429, None)), false, true),
            (Ok(answer(500, None)), false, false),
            (Ok(answer(502, None)), false, true),
            (Ok(answer(503, None)), false, true),
            (Ok(answer(504, None)), false, true),
        ] {
            let may = |is_repeatable| least_pause(&outcome, is_repeatable, now).is_some();
            assert_eq!((may(false), may(true)), (once, repeatable), "{outcome:?}");
        }
    }

    #[test]
    fn the_server_says_when_in_seconds_or_by_a_date() {
        let now = ManualClock::default().now(); // 2026-01-01, a Thursday, noon.
        for (said, seconds) in [
            ("120", 120),
            ("0", 0),
            ("18446744073709551615", 86_400),
            ("Thu, 01 Jan 2026 12:00:30 GMT", 30),
            ("Thu, 01 Jan 2099 12:00:30 GMT", 86_400),
            ("Thursday, 01-Jan-26 12:00:30 GMT", 30),
            ("Thu, 01 Jan 2026 11:00:00 GMT", 0),
            ("soon", 0),
            ("-1", 0),
        ] {
            let pause = least_pause(&Ok(answer(503, Some(said))), true, now);
            assert_eq!(pause, Some(Duration::from_secs(seconds)), "{said}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_budget_is_a_share_of_the_calls_and_a_few_a_second() {
        let budget = Budget::new(Retry {
            most: 2,
            ratio: 0.2,
            per_second: 1.0,
            burst: 2.0,
        });
        let granted = || (0..100).filter(|_| budget.withdraw()).count();
        assert_eq!(granted(), 2, "what is saved up");
        for _ in 0..6 {
            budget.deposit();
        }
        assert_eq!(granted(), 1, "a fifth of six");
        advance(Duration::from_secs(1)).await;
        assert_eq!(granted(), 1, "one a second");
        advance(Duration::from_hours(1)).await;
        assert_eq!(granted(), 2, "no more is saved up");
    }
}
