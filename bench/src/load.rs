//! The closed loop: a fixed number of clients, each asking again as soon as it was answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use hyper::StatusCode;
use tokio::task::JoinSet;

use crate::client::{Ask, Client};

/// Latencies in nanoseconds, to three digits, up to [`LONGEST`].
pub type Latencies = Histogram<u64>;

/// A minute: twice as long as rookery takes before it gives up on a request.
const LONGEST: u64 = 60_000_000_000;

/// An empty histogram.
pub fn latencies() -> Latencies {
    Histogram::new_with_max(LONGEST, 3).expect("the bounds and three digits are allowed")
}

/// Notes how long something took.
pub fn note(latencies: &mut Latencies, took: Duration) {
    latencies.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
}

/// A quantile in milliseconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "latencies are far below 2^52 nanoseconds"
)]
pub fn quantile_ms(latencies: &Latencies, quantile: f64) -> f64 {
    latencies.value_at_quantile(quantile) as f64 / 1e6
}

/// The requests of clients, and how many clients there are.
#[derive(Debug, Clone)]
pub struct Load {
    /// Clients ask these in turn, each client starting at another one.
    pub asks: Arc<[Ask]>,
    /// The number of clients; each has a connection of its own.
    pub clients: usize,
    /// Any other answer ends the measurement: errors are quick and mean nothing.
    pub expected: StatusCode,
}

impl Load {
    /// A load that is answered with 200.
    pub fn of(asks: impl Into<Arc<[Ask]>>, clients: usize) -> Self {
        Self {
            asks: asks.into(),
            clients,
            expected: StatusCode::OK,
        }
    }

    /// Writes that are answered with 201.
    pub fn writes(asks: Vec<Ask>, clients: usize) -> Self {
        Self {
            expected: StatusCode::CREATED,
            ..Self::of(asks, clients)
        }
    }

    /// Runs it for `warm_up`, then for `time`; only the latter counts.
    pub async fn run(
        &self,
        address: SocketAddr,
        warm_up: Duration,
        time: Duration,
    ) -> anyhow::Result<Answers> {
        let mut clients = Vec::with_capacity(self.clients);
        for first in 0..self.clients {
            let client = Client::connect(address).await?;
            clients.push((client, Arc::clone(&self.asks), first));
        }
        let expected = self.expected;
        repeat(
            clients,
            warm_up,
            time,
            move |(mut client, asks, at)| async move {
                client.expect(&asks[at % asks.len()], expected).await?;
                Ok((client, asks, at + 1))
            },
        )
        .await
    }
}

/// Has each worker take one step after the other for `warm_up`, then for `time`; only the latter counts.
pub async fn repeat<W, S>(
    workers: Vec<W>,
    warm_up: Duration,
    time: Duration,
    step: impl Fn(W) -> S + Clone + Send + 'static,
) -> anyhow::Result<Answers>
where
    W: Send + 'static,
    S: Future<Output = anyhow::Result<W>> + Send + 'static,
{
    let start = Instant::now() + warm_up;
    let mut loops = JoinSet::new();
    for mut worker in workers {
        let step = step.clone();
        loops.spawn(async move {
            let (mut counted, mut all) = (latencies(), 0);
            loop {
                let before = Instant::now();
                worker = step(worker).await?;
                let now = Instant::now();
                all += 1;
                if now >= start + time {
                    return anyhow::Ok((counted, all));
                }
                if before >= start {
                    note(&mut counted, now - before);
                }
            }
        });
    }
    let mut answers = Answers {
        counted: latencies(),
        all: 0,
        time,
    };
    while let Some(done) = loops.join_next().await {
        let (counted, all) = done??;
        answers.counted.add(&counted)?;
        answers.all += all;
    }
    Ok(answers)
}

/// The result of a load.
#[derive(Debug)]
pub struct Answers {
    /// Of the answers that count.
    pub counted: Latencies,
    /// The number of answers, warm-up included.
    pub all: u64,
    /// The time that counts.
    pub time: Duration,
}
