//! Notes in SQL tables: one text for SQLite and PostgreSQL.

use blocks::extract::Span;
use sql::{Reader, StoreError, Tx, fetch_all, fetch_one, fetch_optional, rows_affected};
use uuid::Uuid;

use crate::domain::Note;

pub async fn insert(tx: &mut Tx, user_id: i64, text: String) -> Result<Note, StoreError> {
    let (id, created_at) = (tx.id(), tx.now());
    fetch_one!(tx,
        "insert into notes (id, user_id, text, created_at) values ($1, $2, $3, $4)
         returning id, text, created_at" => id, user_id, text, created_at)
}

pub async fn remove_all(tx: &mut Tx, user_id: i64) -> Result<u64, StoreError> {
    rows_affected!(tx, "delete from notes where user_id = $1" => user_id)
}

pub async fn note(reader: &mut Reader, user_id: i64, id: Uuid) -> Result<Option<Note>, StoreError> {
    fetch_optional!(reader, "select id, text, created_at from notes where id = $1 and user_id = $2"
        => id, user_id)
}

pub async fn newest(reader: &mut Reader, user_id: i64, of: Span) -> Result<Vec<Note>, StoreError> {
    fetch_all!(reader,
        "select id, text, created_at from notes
         where user_id = $1 and (created_at, id) < ($2, $3)
         order by created_at desc, id desc limit $4 offset $5"
        => user_id, of.after.at(), of.after.id, of.limit, of.skip)
}

pub async fn count(reader: &mut Reader, user_id: i64, most: i64) -> Result<i64, StoreError> {
    fetch_one!(reader, scalar
        "select count(*) from (select 1 as one from notes where user_id = $1 limit $2) counted"
        => user_id, most)
}
