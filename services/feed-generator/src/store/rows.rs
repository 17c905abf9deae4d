//! Reads entries from the tables.

use ::sql::{Conn, Reader, StoreError, Tx, fetch_one, on};
use blocks::extract::Keyset;
use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;
use sqlx::types::Json;
use std::sync::Arc;
use uuid::Uuid;

use crate::domain::{Entry, Stream};
use crate::mirror::Mirror;
use crate::render::{self, Named, Rendered};

/// Rows read at once when the mirror is filled.
const CHUNK: usize = 250;

/// A connection for statements: a write sees its own changes, a reader only committed ones.
pub(crate) trait Source: Send {
    fn conn(&mut self) -> Conn<'_>;
}

impl Source for Tx {
    fn conn(&mut self) -> Conn<'_> {
        Tx::conn(self)
    }
}

impl Source for Reader {
    fn conn(&mut self) -> Conn<'_> {
        Reader::conn(self)
    }
}

/// An entry's own columns.
#[derive(sqlx_macros::FromRow)]
pub(crate) struct Columns {
    post_id: Uuid,
    user_id: i64,
    created_at: DateTime<Utc>,
    event_type: String,
    happened_at: DateTime<Utc>,
    username: String,
    title: String,
    content: String,
    tags: Json<Vec<String>>,
}

impl From<Columns> for Rendered {
    fn from(row: Columns) -> Self {
        Self::of(&Entry {
            post_id: row.post_id,
            user_id: row.user_id,
            username: row.username,
            created_at: row.created_at,
            event_type: row.event_type,
            happened_at: row.happened_at,
            title: row.title,
            content: row.content,
            tags: row.tags.0,
        })
    }
}

#[derive(sqlx_macros::FromRow)]
struct Row {
    #[sqlx(flatten)]
    entry: Columns,
    name: Option<String>,
}

impl From<Row> for Named {
    fn from(row: Row) -> Self {
        (
            Arc::new(Rendered::from(row.entry)),
            row.name.as_deref().map(render::name),
        )
    }
}

/// Hides closed accounts' entries, which leave the table later: see
/// [`Garbage`](crate::garbage::Garbage).
pub(crate) const NOT_CLOSED: &str = "not exists (
    select 1 from authors c where c.user_id = entries.user_id and c.deleted)";

fn of_stream(stream: Stream, parameter: &str) -> (String, Option<i64>) {
    match stream {
        Stream::Global => (String::new(), None),
        Stream::User(user) => (format!(" and user_id = {parameter}"), Some(user)),
    }
}

/// Up to `limit` entries of the shown generation, newest first: those after `after`, without the
/// first `skip` of them.
pub(crate) async fn entries<S: Source>(
    source: &mut S,
    stream: Stream,
    after: Keyset,
    skip: usize,
    limit: usize,
) -> Result<Vec<Named>, StoreError> {
    let (of_user, user) = of_stream(stream, "$5");
    let statement = format!(
        "select e.post_id, e.user_id, e.created_at, e.event_type, e.happened_at, e.username,
            e.title, e.content, e.tags, a.username as name
         from (select * from entries
            where generation = (select serving from feed_state)
                and (created_at, post_id) < ($1, $2){of_user} and {NOT_CLOSED}
            order by created_at desc, post_id desc limit $3 offset $4) e
         left join authors a on a.user_id = e.user_id
         order by e.created_at desc, e.post_id desc"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let skip = i64::try_from(skip).unwrap_or(i64::MAX);
    let rows: Vec<Row> = on!(source, conn => {
        let query = sqlx::query_as(AssertSqlSafe(statement))
            .bind(after.at())
            .bind(after.id)
            .bind(limit)
            .bind(skip);
        let query = match user {
            Some(user) => query.bind(user),
            None => query,
        };
        query.fetch_all(&mut *conn).await
    })?;
    Ok(rows.into_iter().map(Named::from).collect())
}

/// The number of entries that a stream shows.
pub(crate) async fn total<S: Source>(source: &mut S, stream: Stream) -> Result<usize, StoreError> {
    let (of_user, user) = of_stream(stream, "$2");
    let statement = format!(
        "select count(*) from (select 1 as one from entries
            where generation = (select serving from feed_state){of_user} and {NOT_CLOSED}
            limit $1) shown"
    );
    let length = i64::try_from(stream.length()).unwrap_or(i64::MAX);
    let total: i64 = on!(source, conn => {
        let query = sqlx::query_scalar(AssertSqlSafe(statement)).bind(length);
        let query = match user {
            Some(user) => query.bind(user),
            None => query,
        };
        query.fetch_one(&mut *conn).await
    })?;
    Ok(usize::try_from(total).unwrap_or_default())
}

/// The number of users with a stream.
pub(crate) async fn streams<S: Source>(source: &mut S) -> Result<usize, StoreError> {
    let streams: i64 = fetch_one!(source, scalar
        "select count(*) from (
            select distinct user_id from entries
            where generation = (select serving from feed_state)) entries
         where not exists (
            select 1 from authors c where c.user_id = entries.user_id and c.deleted)")?;
    Ok(usize::try_from(streams).unwrap_or_default())
}

/// As many of the newest entries as `mirror` can hold, and whether these are all.
pub(crate) async fn newest<S: Source>(
    source: &mut S,
    mirror: &Mirror,
) -> Result<(Vec<Named>, bool), StoreError> {
    let mut newest: Vec<Named> = Vec::new();
    let mut size = 0;
    loop {
        let after = newest.last().map_or(Keyset::TOP, |(last, _)| last.place());
        let chunk = entries(source, Stream::Global, after, 0, CHUNK).await?;
        let is_last = chunk.len() < CHUNK;
        size += chunk.iter().map(|(entry, _)| entry.size()).sum::<usize>();
        newest.extend(chunk);
        if is_last || mirror.is_full_with(newest.len(), size) {
            return Ok((newest, is_last));
        }
    }
}
