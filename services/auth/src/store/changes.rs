//! Changes for other replicas: rows that they read, and a notification.

use chrono::{DateTime, Utc};
use sql::{Conn, Dialect, Reader, StoreError, Tx, execute, fetch_one};

use crate::revocations::Change;

/// A replica's place in the table: every transaction before this one has ended, and was seen.
pub type Place = String;

/// Passes `changes` to other replicas when this write is committed. With SQLite there are none.
pub async fn add_changes(tx: &mut Tx, changes: &[Change]) -> Result<(), StoreError> {
    if tx.dialect() == Dialect::Sqlite {
        return Ok(());
    }
    for change in changes {
        let text = serde_json::to_string(change)?;
        execute!(tx, "insert into changes (change, until) values ($1, $2)"
            => &text, change.until())?;
    }
    execute!(tx, "select pg_notify($1 || current_schema(), '')" => BELL)
}

const BELL: &str = "changes_of_";

/// The channel of notifications about changes.
pub async fn bell(reader: &mut Reader) -> Result<String, StoreError> {
    let schema: String = fetch_one!(reader, scalar "select current_schema()::text")?;
    Ok(format!("{BELL}{schema}"))
}

/// The changes committed since the place `since`, some perhaps seen already, and the new place.
pub async fn changes_since(
    reader: &mut Reader,
    since: Option<&Place>,
) -> Result<(Vec<Change>, Place), StoreError> {
    let Conn::Postgres(conn) = reader.conn() else {
        return Ok((Vec::new(), Place::new()));
    };
    // First the place: a transaction that ends in between is read now and again next time.
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

/// Removes expired changes.
pub async fn forget_changes(tx: &mut Tx, now: DateTime<Utc>) -> Result<(), StoreError> {
    execute!(tx, "delete from changes where until <= $1" => now)
}
