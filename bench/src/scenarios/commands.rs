//! What a command costs by being sent: its span, its outcome and its metrics, around work that is nothing.

use std::hint::black_box;
use std::time::Instant;

use blocks::{Command, FieldErrors, Mediator};

use crate::measure::{Measure, Target};

/// So many that the clock's own cost is nothing.
const TIMES: u32 = 1_000_000;

struct Counter(u64);

impl Mediator for Counter {
    fn service(&self) -> &'static str {
        "bench"
    }
}

struct Add {
    by: u64,
}
blocks::operation!(Add -> Result<u64, FieldErrors>, "bench.add", |it| by = it.by);

impl Command<Counter> for Add {
    async fn run(self, on: &Counter) -> Result<u64, FieldErrors> {
        add(on, self.by).await
    }
}

#[expect(clippy::unused_async, reason = "a command waits for what it does")]
async fn add(to: &Counter, by: u64) -> Result<u64, FieldErrors> {
    let sum = black_box(to).0.checked_add(by);
    sum.ok_or_else(|| FieldErrors::one("by", "is too much"))
}

pub async fn measure() -> anyhow::Result<Vec<Measure>> {
    let counter = Counter(1);
    let began = Instant::now();
    for by in 0..TIMES {
        black_box(add(&counter, by.into()).await)?;
    }
    let called = began.elapsed();
    let began = Instant::now();
    for by in 0..TIMES {
        black_box(counter.send(Add { by: by.into() }).await)?;
    }
    let more = began.elapsed().saturating_sub(called);
    Ok(vec![Measure::alone(
        "a command sent, over calling its function",
        "ns",
        more.as_secs_f64() * 1e9 / f64::from(TIMES),
        Target::Below(1_000.0),
    )])
}
