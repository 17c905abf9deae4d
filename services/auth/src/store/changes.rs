//! What other replicas are told: rows that they read, and a bell.

use chrono::{DateTime, Utc};
use sql::{Conn, Db, Dialect, StoreError, Tx};

use crate::revocations::Change;

/// Where a replica stands: every transaction before this one has ended, and was seen.
pub type Place = String;

/// Tells other replicas of `changes`, when this write is committed. A file has none.
pub async fn add_changes(tx: &mut Tx, changes: &[Change]) -> Result<(), StoreError> {
    if tx.dialect() == Dialect::Sqlite {
        return Ok(());
    }
    for change in changes {
        let text = serde_json::to_string(change)?;
        sql::on!(tx, conn => sqlx::query("insert into changes (change, until) values ($1, $2)")
            .bind(&text)
            .bind(change.until())
            .execute(&mut *conn)
            .await
            .map(|_| ()))?;
    }
    sql::on!(tx, conn => sqlx::query("select pg_notify($1 || current_schema(), '')")
        .bind(BELL)
        .execute(&mut *conn)
        .await
        .map(|_| ()))
}

const BELL: &str = "changes_of_";

/// The channel on which a replica is told that there are changes.
pub async fn bell(db: &Db) -> Result<String, StoreError> {
    let mut reader = db.read().await?;
    let schema: String = sql::on!(reader, conn => sqlx::query_scalar("select current_schema()::text")
        .fetch_one(&mut *conn)
        .await)?;
    Ok(format!("{BELL}{schema}"))
}

/// What was committed since a replica stood at `since`, some of it perhaps seen already, and where it
/// stands then.
pub async fn changes_since(
    db: &Db,
    since: Option<&Place>,
) -> Result<(Vec<Change>, Place), StoreError> {
    let mut reader = db.read().await?;
    let Conn::Postgres(conn) = reader.conn() else {
        return Ok((Vec::new(), Place::new()));
    };
    // First the place: what ends between the two is read now and again next time.
    let place: Place = sqlx::query_scalar("select pg_snapshot_xmin(pg_current_snapshot())::text")
        .fetch_one(&mut *conn)
        .await?;
    let Some(since) = since else {
        return Ok((Vec::new(), place));
    };
    let rows: Vec<String> = sqlx::query_scalar(
        "select change from changes where transaction >= cast($1 as xid8) order by id",
    )
    .bind(since)
    .fetch_all(&mut *conn)
    .await?;
    let changes = rows.iter().map(|row| serde_json::from_str(row));
    Ok((changes.collect::<Result<_, _>>()?, place))
}

/// Forgets what nobody needs any more.
pub async fn forget_changes(db: &Db, now: DateTime<Utc>) -> Result<(), StoreError> {
    db.write(move |tx| {
        Box::pin(async move {
            sql::on!(tx, conn => sqlx::query("delete from changes where until <= $1")
                .bind(now)
                .execute(&mut *conn)
                .await
                .map(|_| ()))
        })
    })
    .await
}
