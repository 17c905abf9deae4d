//! Notifications in SQL tables: the statements, in the order of a notification's life.

use blocks::extract::Keyset;
use chrono::{DateTime, Utc};
use sql::{Reader, StoreError, Tx, on};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::domain::{Notice, Notification};

#[derive(sqlx_macros::FromRow)]
struct Row {
    id: Uuid,
    kind: String,
    title: String,
    body: String,
    created_at: DateTime<Utc>,
    read_at: Option<DateTime<Utc>>,
}

impl From<Row> for Notification {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            kind: row.kind,
            title: row.title,
            body: row.body,
            created_at: row.created_at,
            read_at: row.read_at,
        }
    }
}

/// Adds a notification, unless the user already has one about it.
pub(crate) async fn tell(tx: &mut Tx, notice: &Notice) -> Result<(), StoreError> {
    let (id, now) = (tx.id(), tx.now());
    on!(tx, conn => sqlx::query(
        "insert into notifications (id, user_id, kind, about, title, body, created_at)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (user_id, kind, about) do nothing",
    )
    .bind(id)
    .bind(notice.user_id)
    .bind(notice.kind.as_str())
    .bind(&notice.about)
    .bind(&notice.title)
    .bind(&notice.body)
    .bind(now)
    .execute(&mut *conn)
    .await
    .map(|_| ()))
}

/// Removes all notifications of a user.
pub(crate) async fn remove_all(tx: &mut Tx, user_id: i64) -> Result<(), StoreError> {
    on!(tx, conn => sqlx::query("delete from notifications where user_id = $1")
        .bind(user_id)
        .execute(&mut *conn)
        .await
        .map(|_| ()))
}

/// The filter of a user's notifications.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filter {
    pub user_id: i64,
    /// Only unread ones, or only read ones.
    pub unread: Option<bool>,
}

impl Filter {
    fn condition(self) -> &'static str {
        match self.unread {
            None => "user_id = $1",
            Some(true) => "user_id = $1 and read_at is null",
            Some(false) => "user_id = $1 and read_at is not null",
        }
    }
}

/// Up to `limit` notifications, newest first: those after `after`, without the first `skip` of
/// them.
pub(crate) async fn newest(
    reader: &mut Reader,
    filter: Filter,
    after: Keyset,
    skip: i64,
    limit: i64,
) -> Result<Vec<Notification>, StoreError> {
    let statement = format!(
        "select id, kind, title, body, created_at, read_at from notifications
         where {} and (created_at, id) < ($2, $3)
         order by created_at desc, id desc limit $4 offset $5",
        filter.condition()
    );
    let rows: Vec<Row> = on!(reader, conn => sqlx::query_as(AssertSqlSafe(statement))
        .bind(filter.user_id)
        .bind(after.at())
        .bind(after.id)
        .bind(limit)
        .bind(skip)
        .fetch_all(&mut *conn)
        .await)?;
    Ok(rows.into_iter().map(Notification::from).collect())
}

/// The number of notifications, counted up to `most`.
pub(crate) async fn count(
    reader: &mut Reader,
    filter: Filter,
    most: i64,
) -> Result<i64, StoreError> {
    let statement = format!(
        "select count(*) from (select 1 as one from notifications where {} limit $2) counted",
        filter.condition()
    );
    on!(reader, conn => sqlx::query_scalar(AssertSqlSafe(statement))
        .bind(filter.user_id)
        .bind(most)
        .fetch_one(&mut *conn)
        .await)
}

/// Marks one as read, if it is the user's; one already read keeps its time.
pub(crate) async fn mark_read(
    tx: &mut Tx,
    user_id: i64,
    id: Uuid,
) -> Result<Option<Notification>, StoreError> {
    let now = tx.now();
    let row: Option<Row> = on!(tx, conn => sqlx::query_as(
        "update notifications set read_at = coalesce(read_at, $1) where id = $2 and user_id = $3
         returning id, kind, title, body, created_at, read_at",
    )
    .bind(now)
    .bind(id)
    .bind(user_id)
    .fetch_optional(&mut *conn)
    .await)?;
    Ok(row.map(Notification::from))
}

/// Marks all as read, and returns how many were unread.
pub(crate) async fn mark_all_read(tx: &mut Tx, user_id: i64) -> Result<u64, StoreError> {
    let now = tx.now();
    on!(tx, conn => sqlx::query(
        "update notifications set read_at = $1 where user_id = $2 and read_at is null",
    )
    .bind(now)
    .bind(user_id)
    .execute(&mut *conn)
    .await
    .map(|done| done.rows_affected()))
}
