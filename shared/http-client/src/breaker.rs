//! The circuit breaker: while most calls fail, others are not made at all.
//!
//! ```text
//! closed ─ too many failures in the window ─▶ open ─ after a while ─▶ half-open: one call as a probe
//!    ▲                                          ▲                          │
//!    └────────── the probe succeeds ────────────┼──────────────────────────┤
//!                                               └────── the probe fails ───┘
//! ```

use std::sync::Arc;
use std::time::Duration;

use blocks::metrics::HttpClientMetrics;
use parking_lot::Mutex;
use tokio::time::Instant;

/// When a circuit breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Breaker {
    /// The latest time that counts.
    pub window: Duration,
    /// The least number of calls in the window that say something.
    pub minimum: u32,
    /// The share of failures that opens it, from 0 to 1.
    pub rate: f64,
    /// The time until a probe.
    pub open_for: Duration,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(10),
            minimum: 20,
            rate: 0.5,
            open_for: Duration::from_secs(5),
        }
    }
}

/// Parts of the window that are forgotten one by one.
const SLOTS: usize = 10;

/// The latest calls, in parts of the window.
#[derive(Debug, Default)]
struct Window {
    slots: [Slot; SLOTS],
    /// The number of the slot that is being filled, counted from the breaker's start.
    last: usize,
}

#[derive(Debug, Default, Clone, Copy)]
struct Slot {
    calls: u32,
    failures: u32,
}

impl Window {
    /// Counts a call in slot `now`.
    fn add(&mut self, now: usize, failed: bool) {
        let passed = now.saturating_sub(self.last).min(SLOTS);
        for back in 0..passed {
            self.slots[(now - back) % SLOTS] = Slot::default();
        }
        self.last = self.last.max(now);
        let slot = &mut self.slots[self.last % SLOTS];
        slot.calls += 1;
        slot.failures += u32::from(failed);
    }

    fn is_bad(&self, settings: &Breaker) -> bool {
        let sum = |of: fn(&Slot) -> u32| self.slots.iter().map(of).sum::<u32>();
        let (calls, failures) = (sum(|slot| slot.calls), sum(|slot| slot.failures));
        calls >= settings.minimum && f64::from(failures) >= settings.rate * f64::from(calls)
    }
}

#[derive(Debug)]
enum State {
    Closed(Window),
    Open { until: Instant },
    HalfOpen { is_probing: bool },
}

#[derive(Debug)]
struct Current {
    state: State,
    /// The number of changes: what began in an earlier state says nothing about this one.
    epoch: u64,
}

/// The circuit breaker of a client.
#[derive(Debug)]
pub(crate) struct Circuit {
    settings: Breaker,
    client: Arc<str>,
    metrics: HttpClientMetrics,
    start: Instant,
    current: Mutex<Current>,
}

impl Circuit {
    pub(crate) fn new(settings: Breaker, client: Arc<str>, metrics: HttpClientMetrics) -> Self {
        metrics.breaker(0);
        Self {
            settings,
            client,
            metrics,
            start: Instant::now(),
            current: Mutex::new(Current {
                state: State::Closed(Window::default()),
                epoch: 0,
            }),
        }
    }

    /// Leave for one call; `None` while it is open.
    pub(crate) fn admit(&self) -> Option<Permit<'_>> {
        let mut current = self.current.lock();
        if matches!(current.state, State::Open { until } if Instant::now() >= until) {
            self.change(&mut current, State::HalfOpen { is_probing: false });
        }
        match &mut current.state {
            State::Closed(_) => {}
            State::HalfOpen { is_probing } if !*is_probing => *is_probing = true,
            State::HalfOpen { .. } | State::Open { .. } => return None,
        }
        Some(Permit {
            circuit: self,
            epoch: current.epoch,
            succeeded: None,
        })
    }

    fn end(&self, epoch: u64, succeeded: Option<bool>) {
        let mut current = self.current.lock();
        if current.epoch != epoch {
            return;
        }
        match (&mut current.state, succeeded) {
            (State::Closed(window), Some(succeeded)) => {
                window.add(self.slot(), !succeeded);
                if !succeeded && window.is_bad(&self.settings) {
                    self.open(&mut current);
                }
            }
            (State::HalfOpen { .. }, Some(true)) => {
                self.change(&mut current, State::Closed(Window::default()));
            }
            (State::HalfOpen { .. }, Some(false)) => self.open(&mut current),
            // Whoever made the call went away: the next one probes.
            (State::HalfOpen { is_probing }, None) => *is_probing = false,
            (State::Closed(_), None) | (State::Open { .. }, _) => {}
        }
    }

    fn slot(&self) -> usize {
        let slots = self.start.elapsed().as_secs_f64() / self.settings.window.as_secs_f64();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a number of slots since the start"
        )]
        let slot = (slots * SLOTS as f64) as usize;
        slot
    }

    fn open(&self, current: &mut Current) {
        let until = Instant::now() + self.settings.open_for;
        self.change(current, State::Open { until });
    }

    fn change(&self, current: &mut Current, to: State) {
        let (number, name) = match to {
            State::Closed(_) => (0, "closed"),
            State::HalfOpen { .. } => (1, "half_open"),
            State::Open { .. } => (2, "open"),
        };
        current.state = to;
        current.epoch += 1;
        self.metrics.breaker(number);
        self.metrics.breaker_changed(name);
        let client = &*self.client;
        match number {
            2 => tracing::warn!(client, "a circuit breaker is open: calls fail at once"),
            0 => tracing::info!(client, "a circuit breaker is closed: calls are made again"),
            _ => tracing::debug!(client, "a circuit breaker lets one call through"),
        }
    }
}

/// Leave for one call. Dropped without an outcome, it says nothing.
pub(crate) struct Permit<'a> {
    circuit: &'a Circuit,
    epoch: u64,
    succeeded: Option<bool>,
}

impl Permit<'_> {
    pub(crate) fn end(mut self, succeeded: bool) {
        self.succeeded = Some(succeeded);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.circuit.end(self.epoch, self.succeeded);
    }
}

#[cfg(test)]
mod tests {
    use blocks::metrics::Metrics;
    use tokio::time::advance;

    use super::*;

    const SETTINGS: Breaker = Breaker {
        window: Duration::from_secs(10),
        minimum: 4,
        rate: 0.5,
        open_for: Duration::from_secs(5),
    };

    fn circuit() -> (Arc<Metrics>, Circuit) {
        let metrics = Metrics::new();
        let of = metrics.http_client("test");
        (metrics, Circuit::new(SETTINGS, "test".into(), of))
    }

    fn call(circuit: &Circuit, succeeds: bool) -> bool {
        let permit = circuit.admit();
        permit.map(|permit| permit.end(succeeds)).is_some()
    }

    fn opened() -> (Arc<Metrics>, Circuit) {
        let (metrics, circuit) = circuit();
        assert!((0..4).all(|_| call(&circuit, false)));
        assert!(circuit.admit().is_none());
        (metrics, circuit)
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_by_the_rate_of_failures_and_not_for_a_few_calls() {
        let (_, circuit) = circuit();
        for succeeds in [false, false, false] {
            assert!(call(&circuit, succeeds));
        }
        assert!(call(&circuit, true), "three calls say nothing");
        // One of two failed, but the last one did not.
        assert!(call(&circuit, true) && call(&circuit, true) && call(&circuit, true));
        assert!(call(&circuit, false), "3 of 7 had failed");
        assert!(circuit.admit().is_none(), "4 of 8 have");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_forgotten_with_their_part_of_the_window() {
        let (_, circuit) = circuit();
        assert!((0..3).all(|_| call(&circuit, false)));
        advance(Duration::from_secs(5)).await;
        assert!(call(&circuit, true));
        advance(Duration::from_secs(6)).await;
        for _ in 0..2 {
            assert!(call(&circuit, false), "the first three are gone");
        }
        assert!(call(&circuit, false), "2 of 3 say nothing");
        assert!(circuit.admit().is_none(), "3 of 4 have failed");
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_at_a_time_closes_it_or_opens_it_again() {
        let (metrics, circuit) = opened();
        advance(Duration::from_secs(4)).await;
        assert!(circuit.admit().is_none());
        advance(Duration::from_secs(1)).await;
        let probe = circuit.admit().unwrap();
        assert!(circuit.admit().is_none(), "one at a time");
        probe.end(false);
        assert!(circuit.admit().is_none());
        advance(Duration::from_secs(5)).await;
        drop(circuit.admit().unwrap());
        let probe = circuit.admit();
        probe
            .expect("a probe that was broken off is no news")
            .end(true);
        assert!((0..3).all(|_| call(&circuit, false)), "the window is new");
        let page = metrics.encode();
        for line in [
            r#"http_client_breaker_state{client="test"} 0"#,
            r#"http_client_breaker_transitions_total{client="test",to="open"} 2"#,
            r#"http_client_breaker_transitions_total{client="test",to="half_open"} 2"#,
            r#"http_client_breaker_transitions_total{client="test",to="closed"} 1"#,
        ] {
            assert!(page.contains(line), "{line} is not in\n{page}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_began_before_a_change_does_not_count_after_it() {
        let (_, circuit) = circuit();
        let late = circuit.admit().unwrap();
        assert!((0..4).all(|_| call(&circuit, false)));
        advance(Duration::from_secs(5)).await;
        let probe = circuit.admit().unwrap();
        late.end(true);
        assert!(circuit.admit().is_none(), "the probe decides");
        probe.end(true);
        assert!(call(&circuit, true));
    }
}
