//! The sweeper's lease keeps its contract on both databases.

use std::sync::Arc;

use async_trait::async_trait;
use blocks::outbox::Outbox;
use sql::StoreError;
use testkit::db::{TestDb, postgres, sqlite};
use testkit::lease::Adapter;

struct SqlLease(TestDb);

#[async_trait]
impl Adapter for SqlLease {
    fn outbox(&self) -> Arc<dyn Outbox> {
        Arc::new(self.0.db.clone())
    }

    async fn expire(&self) {
        let expired = self.0.write::<_, StoreError, _>(|tx| {
            Box::pin(async move {
                sql::on!(tx, conn => sqlx::query("update leases set expires_ms = 0")
                    .execute(&mut *conn)
                    .await
                    .map(|_| ()))
            })
        });
        expired.await.unwrap();
    }
}

mod in_sqlite {
    use super::*;
    testkit::lease_contract!(async { SqlLease(sqlite("notes", &[]).await) });
}

mod in_postgres {
    use super::*;
    testkit::lease_contract!(
        #[ignore = "needs TEST_DATABASE_URL"]
        async {
            SqlLease(postgres("notes", &[]).await)
        }
    );
}
