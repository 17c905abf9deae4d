//! The sweeper's lease keeps its contract.

use std::sync::Arc;

use async_trait::async_trait;
use blocks::outbox::Outbox;
use mongodb::bson::{DateTime, Document, doc};
use posts::store::mongo::Mongo;
use testkit::lease::Adapter;

use super::fresh;

struct MongoLease(Mongo);

#[async_trait]
impl Adapter for MongoLease {
    fn outbox(&self) -> Arc<dyn Outbox> {
        Arc::new(self.0.clone())
    }

    async fn expire(&self) {
        let leases = self.0.database().collection::<Document>("leases");
        let past = doc! {"$set": {"expires": DateTime::from_millis(0)}};
        leases.update_many(doc! {}, past).await.unwrap();
    }
}

testkit::lease_contract!(
    #[ignore = "needs TEST_MONGODB_URL"]
    async {
        MongoLease(fresh().await)
    }
);
