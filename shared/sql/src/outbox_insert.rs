//! Rows on their way into the outbox, many with a statement: a statement costs more than a row.

use std::collections::HashMap;
use std::sync::LazyLock;

use blocks::outbox::{Pending, Place};
use events::Message;
use uuid::Uuid;

use crate::dialect::Dialect;
use crate::error::StoreError;
use crate::on;
use crate::tx::Tx;

/// A message that is to be kept in the outbox.
pub(crate) struct Enqueued {
    pub(crate) event_id: String,
    pub(crate) event_type: String,
    pub(crate) version: i64,
    pub(crate) message: Message,
}

const COLUMNS: usize = 9;

/// An insert of some rows, alone and with the commit of a SQLite file behind it.
struct Insert {
    rows: usize,
    text: String,
    committing: String,
}

static SQLITE: LazyLock<Vec<Insert>> = LazyLock::new(|| inserts(Dialect::Sqlite));
static POSTGRES: LazyLock<Vec<Insert>> = LazyLock::new(|| inserts(Dialect::Postgres));

/// Inserts of 64, 32 … 1 rows: few statements a commit, and few texts to remember.
fn inserts(dialect: Dialect) -> Vec<Insert> {
    let insert = |rows| {
        let text = statement(dialect, rows);
        let committing = format!("{text}; commit");
        Insert {
            rows,
            text,
            committing,
        }
    };
    [64, 32, 16, 8, 4, 2, 1].map(insert).into()
}

fn statement(dialect: Dialect, rows: usize) -> String {
    let row = |row: usize| {
        let columns = dialect.parameters(row * COLUMNS + 1, COLUMNS);
        format!("({columns}, 'pending')")
    };
    let values: Vec<String> = (0..rows).map(row).collect();
    format!(
        "insert into outbox_messages (event_id, event_type, topic, key, version, headers, payload,
            occurred_at, created_at, status)
         values {} returning position, event_id",
        values.join(", ")
    )
}

/// `enqueued` for a hand-over that keeps it: an event's id is its place.
pub(crate) fn without_rows(enqueued: Vec<Enqueued>) -> Result<Vec<Pending>, StoreError> {
    let pending = enqueued.into_iter().map(|row| {
        let id = Uuid::parse_str(&row.event_id)
            .map_err(|error| StoreError::Unavailable(error.into()))?;
        let (place, message) = (Place::from(id), row.message);
        Ok(Pending { place, message })
    });
    pending.collect()
}

/// Inserts `enqueued` in this write; answers it in the same order, with its places. With
/// `and_commit`, a SQLite file is committed by the last of the statements.
pub(crate) async fn insert(
    tx: &mut Tx,
    enqueued: Vec<Enqueued>,
    and_commit: bool,
) -> Result<Vec<Pending>, StoreError> {
    let now = tx.now();
    let mut places: HashMap<String, i64> = HashMap::with_capacity(enqueued.len());
    let mut rest = enqueued.as_slice();
    let inserts = match tx.dialect() {
        Dialect::Sqlite => &*SQLITE,
        Dialect::Postgres => &*POSTGRES,
    };
    for insert in inserts {
        while rest.len() >= insert.rows {
            let (part, after) = rest.split_at(insert.rows);
            let text = if and_commit && after.is_empty() {
                &insert.committing
            } else {
                &insert.text
            };
            let mut headers = Vec::with_capacity(insert.rows);
            for row in part {
                headers.push(serde_json::to_string(&row.message.headers)?);
            }
            let inserted: Vec<(i64, String)> = on!(tx, conn => {
                let mut insert = sqlx::query_as(text.as_str());
                for (row, headers) in part.iter().zip(&headers) {
                    insert = insert
                        .bind(&row.event_id)
                        .bind(&row.event_type)
                        .bind(&row.message.topic)
                        .bind(&row.message.key)
                        .bind(row.version)
                        .bind(headers)
                        .bind(&row.message.value)
                        .bind(row.message.time)
                        .bind(now);
                }
                insert.fetch_all(&mut *conn).await
            })?;
            places.extend(inserted.into_iter().map(|(place, id)| (id, place)));
            rest = after;
        }
    }
    // By id: the order of RETURNING is not promised.
    let pending = enqueued.into_iter().filter_map(|row| {
        let row_number = places.remove(&row.event_id)?;
        Some(Pending {
            place: Place::row(row_number),
            message: row.message,
        })
    });
    Ok(pending.collect())
}
