//! The lease on publishing dead letters keeps its contract.

use std::sync::Arc;

use async_trait::async_trait;
use blocks::outbox::Outbox;
use feed_generator::Settings;
use redis::AsyncTypedCommands;
use testkit::lease::Adapter;

use super::connection;
use crate::backend::Backend;
use crate::support::World;

struct RedisLease(World);

impl RedisLease {
    async fn fresh() -> Self {
        Self(World::new(Backend::redis().await, Settings::default()).await)
    }
}

#[async_trait]
impl Adapter for RedisLease {
    fn outbox(&self) -> Arc<dyn Outbox> {
        feed_generator::service(&self.0.feed).outbox.unwrap()
    }

    async fn expire(&self) {
        let lease = self.0.backend.as_redis().key("group:outbox:lease");
        assert_eq!(connection().await.del(&lease).await.unwrap(), 1);
    }
}

testkit::lease_contract!(
    #[ignore = "needs TEST_REDIS_URL"]
    async {
        RedisLease::fresh().await
    }
);
