//! Notifications in SQL tables: the statements, in the order of a notification's life.

use blocks::extract::Span;
use sql::{Reader, StoreError, Tx, execute, fetch_all, fetch_one, fetch_optional, rows_affected};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::domain::{Notice, Notification};

/// Adds a notification, unless the user already has one about it.
pub(crate) async fn tell(tx: &mut Tx, notice: &Notice) -> Result<(), StoreError> {
    let (id, now) = (tx.id(), tx.now());
    execute!(tx,
        "insert into notifications (id, user_id, kind, about, title, body, created_at)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (user_id, kind, about) do nothing"
        => id, notice.user_id, notice.kind.as_str(), &notice.about, &notice.title, &notice.body,
            now)
}

/// Removes all notifications of a user, and counts them.
pub(crate) async fn remove_all(tx: &mut Tx, user_id: i64) -> Result<u64, StoreError> {
    rows_affected!(tx, "delete from notifications where user_id = $1" => user_id)
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

/// The notifications of a part of the list, newest first.
pub(crate) async fn newest(
    reader: &mut Reader,
    filter: Filter,
    of: Span,
) -> Result<Vec<Notification>, StoreError> {
    let statement = format!(
        "select id, kind, title, body, created_at, read_at from notifications
         where {} and (created_at, id) < ($2, $3)
         order by created_at desc, id desc limit $4 offset $5",
        filter.condition()
    );
    fetch_all!(reader, AssertSqlSafe(statement)
        => filter.user_id, of.after.at(), of.after.id, of.limit, of.skip)
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
    fetch_one!(reader, scalar AssertSqlSafe(statement) => filter.user_id, most)
}

/// Marks one as read, if it is the user's; one already read keeps its time.
pub(crate) async fn mark_read(
    tx: &mut Tx,
    user_id: i64,
    id: Uuid,
) -> Result<Option<Notification>, StoreError> {
    let now = tx.now();
    fetch_optional!(tx,
        "update notifications set read_at = coalesce(read_at, $1) where id = $2 and user_id = $3
         returning id, kind, title, body, created_at, read_at" => now, id, user_id)
}

/// Marks all as read, and returns how many were unread.
pub(crate) async fn mark_all_read(tx: &mut Tx, user_id: i64) -> Result<u64, StoreError> {
    let now = tx.now();
    rows_affected!(tx,
        "update notifications set read_at = $1 where user_id = $2 and read_at is null"
        => now, user_id)
}
