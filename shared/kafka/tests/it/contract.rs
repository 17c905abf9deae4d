//! The contract suite over the broker that `TEST_KAFKA` names.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use blocks::bus::EventBus;
use kafka::{KafkaBus, Settings};
use testkit::bus::{Adapter, Guarantees};

/// A bus over the broker for tests.
pub(crate) struct KafkaAdapter {
    bus: KafkaBus,
}

/// The broker for tests.
#[expect(
    clippy::disallowed_methods,
    reason = "the harness is told where the broker is"
)]
pub(crate) fn servers() -> String {
    std::env::var("TEST_KAFKA").expect("TEST_KAFKA names a broker for this test")
}

/// A bus over the broker for tests.
pub(crate) fn bus() -> KafkaBus {
    KafkaBus::new(Settings::new(servers())).unwrap()
}

impl KafkaAdapter {
    fn open() -> Self {
        Self { bus: bus() }
    }
}

#[async_trait]
impl Adapter for KafkaAdapter {
    fn bus(&self) -> Arc<dyn EventBus> {
        Arc::new(self.bus.clone())
    }

    fn guarantees(&self) -> Guarantees {
        Guarantees {
            reopens: true,
            // A member hears of another one with its next heartbeat, and then joins twice.
            settles: Duration::from_secs(4),
        }
    }

    async fn reopen(&mut self) {
        self.bus.close().await;
        self.bus = bus();
    }
}

testkit::bus_contract!(
    #[ignore = "needs TEST_KAFKA"]
    async {
        KafkaAdapter::open()
    }
);
