//! Checks that the brokers answer, for `/health/events` and `/ready`.

use async_trait::async_trait;
use blocks::error::BoxError;
use blocks::health;
use blocks::service::Check;

use crate::KafkaBus;

/// Checks that a broker answers.
pub struct KafkaCheck(pub KafkaBus);

#[async_trait]
impl Check for KafkaCheck {
    fn name(&self) -> &'static str {
        health::EVENTS
    }

    async fn check(&self) -> Result<(), BoxError> {
        Ok(self.0.answers().await?)
    }

    /// Committed events wait in the outbox, and requests are served.
    fn is_vital(&self) -> bool {
        false
    }
}
