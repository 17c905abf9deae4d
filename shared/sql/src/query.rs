//! What a query finds in a SQLite file, as a side of a [`blocks::data_migration`].

use std::marker::PhantomData;

use async_trait::async_trait;
use blocks::data_migration::{Row, Rows, Side};
use blocks::error::BoxError;
use futures::TryStreamExt;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, FromRow};

use crate::db::Db;
use crate::error::StoreError;
use crate::tx::Conn;

struct Query<R, F> {
    db: Db,
    statement: String,
    row: F,
    found: PhantomData<fn() -> R>,
}

/// What `statement` finds in the SQLite file `db`, each as the row that `row` makes of it.
pub fn query<R, F>(db: &Db, statement: impl Into<String>, row: F) -> Box<dyn Side>
where
    R: for<'r> FromRow<'r, SqliteRow> + Send + Unpin + 'static,
    F: Fn(R) -> Result<Row, BoxError> + Send + Sync + 'static,
{
    Box::new(Query {
        db: db.clone(),
        statement: statement.into(),
        row,
        found: PhantomData,
    })
}

#[async_trait]
impl<R, F> Side for Query<R, F>
where
    R: for<'r> FromRow<'r, SqliteRow> + Send + Unpin + 'static,
    F: Fn(R) -> Result<Row, BoxError> + Send + Sync + 'static,
{
    async fn read(&self, rows: &Rows) -> Result<(), BoxError> {
        let mut reader = self.db.read().await?;
        let Conn::Sqlite(conn) = reader.conn() else {
            return Err(StoreError::Rejected("not a SQLite file".into()).into());
        };
        let statement = AssertSqlSafe(self.statement.as_str());
        let mut found = sqlx::query_as::<_, R>(statement).fetch(conn);
        while let Some(found) = found.try_next().await? {
            if !rows.give((self.row)(found)?).await {
                break;
            }
        }
        Ok(())
    }
}
