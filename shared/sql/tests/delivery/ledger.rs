//! A small service under test: counters that publish each step, and a ledger that notes every
//! effect in the order in which it took place.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use blocks::consumer::HandlerError;
use events::Envelope;
use sql::{Db, Handler, Migration, StoreError, Tx, on};
use testkit::consumer_store::Refusals;

pub use testkit::consumer_store::{STEPS, Stepped, complete};

const TABLES: &str = "
    create table counters (counter text primary key, value bigint not null);
    create table ledger (counter text not null, value bigint not null, place bigint not null);
    create table balances (counter text primary key, value bigint not null);
";
pub const MIGRATIONS: &[Migration] = &[Migration {
    version: 1001,
    what: "counters and ledger",
    sqlite: TABLES,
    postgres: TABLES,
}];

/// Advances a counter by one and publishes that, in one write. `refuse` fails it at the end.
pub async fn step(db: &Db, counter: String, refuse: bool) -> Result<i64, StoreError> {
    db.write(move |tx| {
        Box::pin(async move {
            let value: i64 = on!(tx, conn => sqlx::query_scalar(
                "insert into counters (counter, value) values ($1, 1)
                 on conflict (counter) do update set value = counters.value + 1 returning value",
            )
            .bind(&counter)
            .fetch_one(&mut *conn)
            .await)?;
            tx.publish(&Stepped { counter, value }, value).await?;
            if refuse {
                return Err(StoreError::Panicked);
            }
            Ok(value)
        })
    })
    .await
}

/// The value of each counter in its own table.
pub async fn counters(db: &Db) -> BTreeMap<String, i64> {
    let mut reader = db.read().await.unwrap();
    let rows: Vec<(String, i64)> = on!(reader, conn => sqlx::query_as(
        "select counter, value from counters",
    )
    .fetch_all(&mut *conn)
    .await)
    .unwrap();
    rows.into_iter().collect()
}

/// The effects on each counter in the order in which they were written.
pub async fn ledger(db: &Db) -> BTreeMap<String, Vec<i64>> {
    let mut reader = db.read().await.unwrap();
    let rows: Vec<(String, i64)> = on!(reader, conn => sqlx::query_as(
        "select counter, value from ledger order by place",
    )
    .fetch_all(&mut *conn)
    .await)
    .unwrap();
    let mut ledger: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for (counter, value) in rows {
        ledger.entry(counter).or_default().push(value);
    }
    ledger
}

/// The value of each counter in the projection.
pub async fn balances(db: &Db) -> BTreeMap<String, i64> {
    let mut reader = db.read().await.unwrap();
    let rows: Vec<(String, i64)> = on!(reader, conn => sqlx::query_as(
        "select counter, value from balances",
    )
    .fetch_all(&mut *conn)
    .await)
    .unwrap();
    rows.into_iter().collect()
}

/// Notes each effect. It writes before it refuses, so that a refusal has something to undo.
#[derive(Default)]
pub struct Ledger {
    pub refusals: Arc<Refusals>,
}

#[async_trait]
impl Handler for Ledger {
    async fn handle(&self, tx: &mut Tx, event: &Envelope) -> Result<(), HandlerError> {
        let Some(step) = event.open::<Stepped>() else {
            return Ok(());
        };
        let step = step?;
        on!(tx, conn => sqlx::query(
            "insert into ledger (counter, value, place)
             select $1, $2, coalesce(max(place), 0) + 1 from ledger",
        )
        .bind(&step.counter)
        .bind(step.value)
        .execute(&mut *conn)
        .await
        .map(|_| ()))?;
        self.refusals.judge(&step)?;
        on!(tx, conn => sqlx::query(
            "insert into balances (counter, value) values ($1, 1)
             on conflict (counter) do update set value = balances.value + 1",
        )
        .bind(&step.counter)
        .execute(&mut *conn)
        .await
        .map(|_| ()))?;
        Ok(())
    }

    async fn reset(&self, tx: &mut Tx, _topics: &[String]) -> Result<(), StoreError> {
        for table in ["delete from ledger", "delete from balances"] {
            on!(tx, conn => sqlx::query(table).execute(&mut *conn).await.map(|_| ()))?;
        }
        Ok(())
    }
}
