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
    /// How many clients; each has a connection of its own.
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

    /// Runs it for `warm_up`, then for `time`; only the latter counts.
    pub async fn run(
        &self,
        address: SocketAddr,
        warm_up: Duration,
        time: Duration,
    ) -> anyhow::Result<Answers> {
        let mut clients = Vec::with_capacity(self.clients);
        for _ in 0..self.clients {
            clients.push(Client::connect(address).await?);
        }
        let start = Instant::now() + warm_up;
        let mut loops = JoinSet::new();
        for (at, client) in clients.into_iter().enumerate() {
            loops.spawn(ask_until(self.clone(), client, at, start, start + time));
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
}

async fn ask_until(
    load: Load,
    mut client: Client,
    first: usize,
    start: Instant,
    end: Instant,
) -> anyhow::Result<(Latencies, u64)> {
    let mut counted = latencies();
    let mut all = 0;
    let mut before = Instant::now();
    for ask in load.asks.iter().cycle().skip(first % load.asks.len()) {
        client.expect(ask, load.expected).await?;
        let now = Instant::now();
        all += 1;
        if now >= end {
            break;
        }
        if before >= start {
            note(&mut counted, now - before);
        }
        before = now;
    }
    Ok((counted, all))
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
