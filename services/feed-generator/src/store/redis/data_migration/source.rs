//! What there is in the SQLite file.

use async_trait::async_trait;
use blocks::consumer::Reason;
use blocks::data_migration::{Key as Field, Row, Rows, Side};
use blocks::error::BoxError;
use blocks::extract::Keyset;
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use sql::{Conn, Db, Reader, SqliteConn, StoreError};
use sqlx::AssertSqlSafe;

use super::{LAST, Of, bound, entry, text};
use crate::domain::Stream;
use crate::render::Rendered;
use crate::store::redis::group::data_migration::Block;
use crate::store::redis::projection::{KEPT, member};
use crate::store::rows::{Columns, NOT_CLOSED};

/// The tables.
pub(super) struct Here {
    pub(super) db: Db,
    pub(super) of: Of,
}

fn sqlite(reader: &mut Reader) -> Result<&mut SqliteConn, StoreError> {
    match reader.conn() {
        Conn::Sqlite(conn) => Ok(conn),
        Conn::Postgres(_) => Err(StoreError::Rejected("not a SQLite file".into())),
    }
}

#[derive(sqlx_macros::FromRow)]
struct Parked {
    id: i64,
    topic: String,
    key: String,
    reason: String,
    error: String,
    attempts: i64,
    retry_at: Option<DateTime<Utc>>,
    since: DateTime<Utc>,
    partition: i32,
}

impl Parked {
    fn row(self) -> Result<Row, BoxError> {
        let block = Block {
            reason: Reason::parse(&self.reason).ok_or("a key that is parked for no reason")?,
            error: self.error,
            attempts: self.attempts,
            retry_at: self.retry_at,
            since: self.since,
            partition: self.partition,
        };
        let block = serde_json::to_string(&block)?;
        let key = [text(&self.topic), text(&self.key)];
        Ok(Row::new(key, format!("{} {block}", self.id)))
    }
}

#[derive(sqlx_macros::FromRow)]
struct Shown {
    #[sqlx(flatten)]
    entry: Columns,
    place: i64,
}

impl Here {
    /// Gives what `statement` finds.
    async fn each<R>(
        &self,
        rows: &Rows,
        statement: &'static str,
        row: impl Fn(R) -> Result<Row, BoxError> + Send,
    ) -> Result<(), BoxError>
    where
        R: for<'r> sqlx::FromRow<'r, sqlx::sqlite::SqliteRow> + Send + Unpin,
    {
        let mut reader = self.db.read().await?;
        let mut found = sqlx::query_as::<_, R>(statement).fetch(sqlite(&mut reader)?);
        while let Some(found) = found.try_next().await? {
            if !rows.give(row(found)?).await {
                break;
            }
        }
        Ok(())
    }

    /// Everybody's stream, or those of all users: of each as much as is kept, and the bound where there
    /// is more.
    async fn streams(&self, rows: &Rows, of_users: bool) -> Result<(), BoxError> {
        let of = if of_users { "partition by user_id" } else { "" };
        let first = if of_users { "user_id, " } else { "" };
        let kept = KEPT
            * if of_users {
                Stream::User(1)
            } else {
                Stream::Global
            }
            .length();
        let kept = i64::try_from(kept)?;
        let statement = format!(
            "select post_id, user_id, created_at, event_type, happened_at, username, title, content,
                tags, place
             from (select *, row_number() over ({of} order by created_at desc, post_id desc) as place
                from entries
                where generation = (select serving from feed_state) and {NOT_CLOSED})
             where place <= $1 + 1 order by {first}place"
        );
        let mut reader = self.db.read().await?;
        let mut found = sqlx::query_as::<_, Shown>(AssertSqlSafe(statement))
            .bind(kept)
            .fetch(sqlite(&mut reader)?);
        while let Some(shown) = found.try_next().await? {
            let place = shown.place;
            let shown = Rendered::from(shown.entry);
            let user = shown.user_id();
            let of = if of_users {
                Stream::User(user)
            } else {
                Stream::Global
            };
            let row = if place <= kept {
                entry(of, &shown)
            } else {
                let Keyset {
                    ms: created_ms,
                    id: post_id,
                } = shown.place();
                bound(of, format!("{created_ms} {}", member(post_id, user)))
            };
            if !rows.give(row).await {
                break;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Side for Here {
    async fn read(&self, rows: &Rows) -> Result<(), BoxError> {
        match self.of {
            Of::Names => {
                let statement =
                    "select user_id, username from authors where not deleted order by user_id";
                let row = |(user, name): (i64, String)| Ok(Row::new([Field::Number(user)], name));
                self.each(rows, statement, row).await
            }
            Of::Closed => {
                let statement = "select user_id from authors where deleted order by user_id";
                let row = |(user,): (i64,)| Ok(Row::new([Field::Number(user)], ""));
                self.each(rows, statement, row).await
            }
            Of::Versions => {
                let statement =
                    "select topic, key, version from consumer_versions order by topic, key";
                let row = |(topic, key, version): (String, String, i64)| {
                    Ok(Row::new([text(&topic), text(&key)], version.to_string()))
                };
                self.each(rows, statement, row).await
            }
            Of::Parked => {
                let statement = "select id, topic, key, reason, error, attempts, retry_at, since,
                        partition
                     from parked_keys order by topic, key";
                self.each(rows, statement, Parked::row).await
            }
            Of::Waiting => {
                let statement = "select topic, key, version, record from inbox_messages
                     where status = 'processing' and record is not null
                     order by topic, key, version";
                let row = |(topic, key, version, record): (String, String, i64, String)| {
                    let key = [text(&topic), text(&key), Field::Number(version)];
                    Ok(Row::new(key, record))
                };
                self.each(rows, statement, row).await
            }
            Of::Counters => {
                let statement =
                    "select seq from sqlite_sequence where name = 'parked_keys' and seq > 0";
                let row = |(last,): (i64,)| Ok(Row::new([text(LAST)], last.to_string()));
                self.each(rows, statement, row).await
            }
            Of::Streams => {
                self.streams(rows, false).await?;
                self.streams(rows, true).await
            }
            Of::Offsets => Ok(()),
        }
    }
}
