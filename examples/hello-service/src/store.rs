//! Notes in SQL tables: one text for SQLite and PostgreSQL.

use blocks::extract::Keyset;
use sql::{Reader, StoreError, Tx, on};

use crate::domain::Note;

pub async fn insert(tx: &mut Tx, user_id: i64, text: String) -> Result<Note, StoreError> {
    let (id, created_at) = (tx.id(), tx.now());
    on!(tx, conn => sqlx::query("insert into notes (id, user_id, text, created_at) values ($1, $2, $3, $4)")
        .bind(id).bind(user_id).bind(&text).bind(created_at)
        .execute(&mut *conn).await.map(|_| ()))?;
    Ok(Note {
        id,
        text,
        created_at,
    })
}

pub async fn remove_all(tx: &mut Tx, user_id: i64) -> Result<(), StoreError> {
    on!(tx, conn => sqlx::query("delete from notes where user_id = $1")
        .bind(user_id).execute(&mut *conn).await.map(|_| ()))
}

pub async fn newest(
    reader: &mut Reader,
    user_id: i64,
    after: Keyset,
    skip: i64,
    limit: i64,
) -> Result<Vec<Note>, StoreError> {
    on!(reader, conn => sqlx::query_as(
            "select id, text, created_at from notes
             where user_id = $1 and (created_at, id) < ($2, $3)
             order by created_at desc, id desc limit $4 offset $5")
        .bind(user_id).bind(after.at()).bind(after.id).bind(limit).bind(skip)
        .fetch_all(&mut *conn).await)
}

pub async fn count(reader: &mut Reader, user_id: i64, most: i64) -> Result<i64, StoreError> {
    on!(reader, conn => sqlx::query_scalar(
            "select count(*) from (select 1 as one from notes where user_id = $1 limit $2) counted")
        .bind(user_id).bind(most).fetch_one(&mut *conn).await)
}
