//! A small service under test: counters that publish each step, and a ledger that notes every
//! effect in the order in which it took place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use async_trait::async_trait;
use blocks::consumer::HandlerError;
use events::{Cleanup, Envelope, Event, Topic};
use serde::{Deserialize, Serialize};
use sql::{Db, Handler, Migration, StoreError, Tx, on};

pub const STEPS: Topic = Topic {
    name: "steps",
    partitions: 3,
    cleanup: Cleanup::Delete {
        after_ms: 604_800_000,
    },
};

/// The same topic, were it compacted.
pub const COMPACTED: Topic = Topic {
    cleanup: Cleanup::Compact {
        after_ms: 604_800_000,
    },
    ..STEPS
};

/// A counter went one step on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stepped {
    pub counter: String,
    pub value: i64,
}

impl Event for Stepped {
    const TOPIC: &'static Topic = &STEPS;
    const TYPE: &'static str = "counter.stepped";
    const VERSION: u16 = 1;
    fn subject(&self) -> String {
        self.counter.clone()
    }
}

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

/// Where each counter stands by its own table.
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

/// Where each counter stands by the projection.
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

/// What each counter's ledger must be when all was delivered.
pub fn complete(counters: &BTreeMap<String, i64>) -> BTreeMap<String, Vec<i64>> {
    counters
        .iter()
        .map(|(counter, value)| (counter.clone(), (1..=*value).collect()))
        .collect()
}

/// What the handler refuses, for now.
#[derive(Debug, Default)]
pub struct Poison {
    pub unreadable: BTreeSet<(String, i64)>,
    pub rejected: BTreeSet<(String, i64)>,
}

/// Notes each effect. It writes before it refuses, so that a refusal has something to undo.
#[derive(Default)]
pub struct Ledger {
    pub poison: Mutex<Poison>,
}

impl Ledger {
    pub fn cure(&self) {
        *self.poison.lock().unwrap() = Poison::default();
    }
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
        let poison = {
            let poison = self.poison.lock().unwrap();
            let key = (step.counter.clone(), step.value);
            (
                poison.unreadable.contains(&key),
                poison.rejected.contains(&key),
            )
        };
        match poison {
            (true, _) => return Err(HandlerError::Poison("poison".into())),
            (_, true) => return Err(HandlerError::Rejected("refused for now".into())),
            _ => {}
        }
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
