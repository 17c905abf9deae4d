//! Reads the SQLite file.

use async_trait::async_trait;
use blocks::data_migration::{Key as Field, Nothing, Row, Rows, Side};
use blocks::error::BoxError;
use sql::{BlockRow, Db, query};

use super::{LAST, Of, bound, entry, text};
use crate::domain::Stream;
use crate::render::Rendered;
use crate::store::redis::projection::{KEPT, member};
use crate::store::rows::{Columns, NOT_CLOSED};

#[derive(sqlx_macros::FromRow)]
struct Parked {
    id: i64,
    topic: String,
    key: String,
    #[sqlx(flatten)]
    block: BlockRow,
}

impl Parked {
    fn row(self) -> Result<Row, BoxError> {
        let block = self.block.block();
        let block = serde_json::to_string(&block.ok_or("a key that is parked for no reason")?)?;
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

/// Everybody's stream, then those of all users.
struct Streams([Box<dyn Side>; 2]);

#[async_trait]
impl Side for Streams {
    async fn read(&self, rows: &Rows) -> Result<(), BoxError> {
        for streams in &self.0 {
            streams.read(rows).await?;
        }
        Ok(())
    }
}

/// Everybody's stream, or those of all users: of each as much as is kept, and the bound where there is more.
fn streams(db: &Db, of_users: bool) -> Box<dyn Side> {
    let (of, first, length) = if of_users {
        (
            "partition by user_id",
            "user_id, ",
            Stream::User(1).length(),
        )
    } else {
        ("", "", Stream::Global.length())
    };
    let kept = KEPT * length;
    let statement = format!(
        "select post_id, user_id, created_at, event_type, happened_at, username, title, content,
            tags, place
         from (select *, row_number() over ({of} order by created_at desc, post_id desc) as place
            from entries
            where generation = (select serving from feed_state) and {NOT_CLOSED})
         where place <= {kept} + 1 order by {first}place"
    );
    query(db, statement, move |shown: Shown| {
        let is_kept = usize::try_from(shown.place)? <= kept;
        let shown = Rendered::from(shown.entry);
        let user = shown.user_id();
        let of = if of_users {
            Stream::User(user)
        } else {
            Stream::Global
        };
        if is_kept {
            return Ok(entry(of, &shown));
        }
        let place = shown.place();
        let bound_at = format!("{} {}", place.ms, member(place.id, user));
        Ok(bound(of, bound_at))
    })
}

/// The rows of a part.
pub(super) fn side(db: &Db, of: Of) -> Box<dyn Side> {
    match of {
        Of::Names => query(
            db,
            "select user_id, username from authors where not deleted order by user_id",
            |(user, name): (i64, String)| Ok(Row::new([Field::Number(user)], name)),
        ),
        Of::Closed => query(
            db,
            "select user_id from authors where deleted order by user_id",
            |(user,): (i64,)| Ok(Row::new([Field::Number(user)], "")),
        ),
        Of::Versions => query(
            db,
            "select topic, key, version from consumer_versions order by topic, key",
            |(topic, key, version): (String, String, i64)| {
                Ok(Row::new([text(&topic), text(&key)], version.to_string()))
            },
        ),
        Of::Parked => query(
            db,
            "select id, topic, key, reason, error, attempts, retry_at, since, partition
             from parked_keys order by topic, key",
            Parked::row,
        ),
        Of::Waiting => query(
            db,
            "select topic, key, version, record from inbox_messages
             where status = 'processing' and record is not null order by topic, key, version",
            |(topic, key, version, record): (String, String, i64, String)| {
                let key = [text(&topic), text(&key), Field::Number(version)];
                Ok(Row::new(key, record))
            },
        ),
        Of::Counters => query(
            db,
            "select seq from sqlite_sequence where name = 'parked_keys' and seq > 0",
            |(last,): (i64,)| Ok(Row::new([text(LAST)], last.to_string())),
        ),
        Of::Streams => Box::new(Streams([streams(db, false), streams(db, true)])),
        // They belong to the log that they were in.
        Of::Offsets => Box::new(Nothing),
    }
}
