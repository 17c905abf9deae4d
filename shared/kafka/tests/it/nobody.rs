//! A broker that has just started may tell its clients, for a moment, that the cluster has no brokers:
//! itself it does not count yet. The library then forgets all it knew, and sometimes never asks again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use blocks::service::Check;
use kafka::{KafkaBus, KafkaCheck, Settings};
use testkit::bus::PATIENCE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;
const UNSUPPORTED_VERSION: i16 = 35;
const LEADER_NOT_AVAILABLE: i16 = 5;

/// Stands in for a broker: says who the brokers are, and nothing else.
#[derive(Default)]
struct Fake {
    port: u16,
    knows_nobody: AtomicBool,
}

impl Fake {
    async fn start() -> Arc<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let fake = Arc::new(Self {
            port: listener.local_addr().unwrap().port(),
            ..Self::default()
        });
        let answering = Arc::clone(&fake);
        #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(Arc::clone(&answering).talk(client));
            }
        });
        fake
    }

    fn bus(&self) -> KafkaBus {
        KafkaBus::new(Settings::new(format!("127.0.0.1:{}", self.port))).unwrap()
    }

    /// Until the client hangs up.
    async fn talk(self: Arc<Self>, mut client: TcpStream) {
        while let Ok(size) = client.read_i32().await {
            let mut request = vec![0; usize::try_from(size).unwrap()];
            client.read_exact(&mut request).await.unwrap();
            let word = |at: usize| i16::from_be_bytes([request[at], request[at + 1]]);
            let body = match (word(0), word(2)) {
                (API_VERSIONS, version) => versions(version),
                (METADATA, _) => self.brokers(),
                _ => return,
            };
            let mut answer = i32::try_from(body.len() + 4)
                .unwrap()
                .to_be_bytes()
                .to_vec();
            answer.extend(&request[4..8]);
            answer.extend(body);
            if client.write_all(&answer).await.is_err() {
                return;
            }
        }
    }

    /// Version 1 of the answer: one topic, and one broker or none.
    fn brokers(&self) -> Vec<u8> {
        let mut body = Vec::new();
        if self.knows_nobody.load(Ordering::SeqCst) {
            body.extend(0_i32.to_be_bytes());
        } else {
            body.extend(1_i32.to_be_bytes());
            body.extend(1_i32.to_be_bytes());
            text(&mut body, "127.0.0.1");
            body.extend(i32::from(self.port).to_be_bytes());
            body.extend((-1_i16).to_be_bytes()); // no rack
        }
        body.extend(1_i32.to_be_bytes()); // who leads them
        body.extend(1_i32.to_be_bytes()); // topics
        body.extend(0_i16.to_be_bytes());
        text(&mut body, "a-topic");
        body.push(0); // not of Kafka's own
        body.extend(1_i32.to_be_bytes()); // partitions
        body.extend(LEADER_NOT_AVAILABLE.to_be_bytes());
        body.extend(0_i32.to_be_bytes());
        body.extend((-1_i32).to_be_bytes());
        body.extend(0_i32.to_be_bytes()); // replicas
        body.extend(0_i32.to_be_bytes()); // of which in step
        body
    }
}

/// Supported requests: the oldest request for versions, so that a newer one is not tried again, and
/// metadata.
fn versions(asked: i16) -> Vec<u8> {
    let error = if asked == 0 { 0 } else { UNSUPPORTED_VERSION };
    let mut body = error.to_be_bytes().to_vec();
    body.extend(2_i32.to_be_bytes());
    for (api, newest) in [(METADATA, 1_i16), (API_VERSIONS, 0)] {
        body.extend(api.to_be_bytes());
        body.extend(0_i16.to_be_bytes());
        body.extend(newest.to_be_bytes());
    }
    body
}

fn text(body: &mut Vec<u8>, text: &str) {
    body.extend(i16::try_from(text.len()).unwrap().to_be_bytes());
    body.extend(text.as_bytes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_that_was_told_of_no_broker_finds_them_again() {
    let fake = Fake::start().await;
    let bus = fake.bus();
    let check = KafkaCheck(bus.clone());
    check.check().await.unwrap();
    // It is a race within the library: once is not enough.
    for _ in 0..20 {
        fake.knows_nobody.store(true, Ordering::SeqCst);
        // Whatever comes of it.
        let _ = check.check().await;
        fake.knows_nobody.store(false, Ordering::SeqCst);
        let end = Instant::now() + PATIENCE;
        while let Err(error) = check.check().await {
            let why = blocks::error::chain(&*error);
            assert!(Instant::now() < end, "it does not find them: {why}");
            sleep(Duration::from_millis(100)).await;
        }
    }
    bus.close().await;
}
