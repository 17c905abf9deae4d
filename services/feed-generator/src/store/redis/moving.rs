//! What the streams in a SQLite file are in Redis, for the one who moves there: see [`blocks::moving`].
//!
//! | from | to |
//! |---|---|
//! | `authors` | names, closed accounts |
//! | `consumer_versions`, `parked_keys`, `inbox_messages` | the group's versions, and what waits |
//! | `entries` | the streams, as long as they are kept here, and the bounds of those that were longer |
//!
//! The group then reads Kafka from its beginning and skips what it has by version, so that what was
//! given up stays so, and the streams show what they showed before it has read anything. What the
//! streams no longer keep they take from the log when they need it, as always.

use blocks::extract::Keyset;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use blocks::consumer::Reason;
use blocks::error::BoxError;
use blocks::moving::{Key as Field, Nothing, Part, Row, Rows, Side, Target};
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use redis::Pipeline;
use sql::{Conn, Db, Reader, SqliteConn, StoreError};
use sqlx::AssertSqlSafe;
use sqlx::types::Json;
use uuid::Uuid;

use super::RedisFeed;
use super::group::moving::{Block, Key};
use super::projection::{KEPT, member};
use super::words::Words;
use crate::NAME;
use crate::consumer::TOPICS;
use crate::domain::{Entry, Stream};
use crate::render::Rendered;
use crate::store::rows::NOT_CLOSED;

/// All that is to move from the SQLite file `from` to `to`, in an order in which each part may be the
/// last: closed accounts before the entries that they must not bring back.
pub fn parts(from: &Db, to: &RedisFeed) -> Vec<Part> {
    let part = |of: Of| Part {
        name: format!("{NAME}.{}", of.name()),
        source: of.source(from),
        target: Box::new(There {
            feed: to.clone(),
            of,
        }),
    };
    [
        Of::Names,
        Of::Closed,
        Of::Versions,
        Of::Parked,
        Of::Waiting,
        Of::Counters,
        Of::Streams,
        Of::Offsets,
    ]
    .map(part)
    .into()
}

/// What is moved as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Names,
    Closed,
    Versions,
    Parked,
    Waiting,
    Counters,
    Streams,
    Offsets,
}

impl Of {
    fn name(self) -> &'static str {
        match self {
            Self::Names => "names",
            Self::Closed => "closed",
            Self::Versions => "versions",
            Self::Parked => "parked",
            Self::Waiting => "waiting",
            Self::Counters => "counters",
            Self::Streams => "streams",
            Self::Offsets => "offsets",
        }
    }

    fn source(self, db: &Db) -> Box<dyn Side> {
        match self {
            // Positions belong to the log that they were in.
            Self::Offsets => Box::new(Nothing),
            of => Box::new(Here { db: db.clone(), of }),
        }
    }
}

/// Of everybody's stream and of each user's: how its rows begin.
fn number(stream: Stream) -> i64 {
    match stream {
        Stream::Global => 0,
        Stream::User(user) => user,
    }
}

fn stream(number: i64) -> Stream {
    match number {
        0 => Stream::Global,
        user => Stream::User(user),
    }
}

/// As it stands in the names of its keys.
fn name(stream: Stream) -> String {
    match stream {
        Stream::Global => "global".to_owned(),
        Stream::User(user) => format!("user:{user}"),
    }
}

/// An entry of a stream, newest first. Behind all of them comes the bound.
fn entry(of: Stream, entry: &Rendered) -> Row {
    let Keyset {
        ms: created_ms,
        id: post_id,
    } = entry.place();
    let key = [
        Field::Number(number(of)),
        Field::Number(0),
        Field::Number(-created_ms),
        Field::Id(Uuid::from_u128(!post_id.as_u128())),
    ];
    Row::new(key, entry.text())
}

/// Up to where a stream may lack posts.
fn bound(of: Stream, text: impl Into<String>) -> Row {
    Row::new([Field::Number(number(of)), Field::Number(1)], text)
}

fn text(text: &str) -> Field {
    Field::Text(text.to_owned())
}

/// The tables.
struct Here {
    db: Db,
    of: Of,
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
    post_id: Uuid,
    user_id: i64,
    created_at: DateTime<Utc>,
    event_type: String,
    happened_at: DateTime<Utc>,
    username: String,
    title: String,
    content: String,
    tags: Json<Vec<String>>,
    place: i64,
}

impl From<Shown> for Rendered {
    fn from(row: Shown) -> Self {
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
            let shown = Rendered::from(shown);
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

/// The last number that a blocked key got.
const LAST: &str = "last_id";

/// The keys in Redis.
struct There {
    feed: RedisFeed,
    of: Of,
}

impl There {
    async fn ask<T: redis::FromRedisValue>(
        &self,
        command: impl FnOnce(&mut Pipeline) -> &mut Pipeline,
    ) -> Result<T, BoxError> {
        let mut pipeline = Pipeline::new();
        command(&mut pipeline);
        let (answer,) = self.feed.inner.link.ask::<(T,)>(&pipeline).await?;
        Ok(answer)
    }

    async fn hash(&self, key: String) -> Result<BTreeMap<String, String>, BoxError> {
        self.ask(|pipeline| pipeline.hgetall(key)).await
    }

    async fn numbers(&self, key: String) -> Result<BTreeSet<i64>, BoxError> {
        self.ask(|pipeline| pipeline.smembers(key)).await
    }

    async fn parked(&self) -> Result<BTreeMap<(String, String), String>, BoxError> {
        let fields = self.hash(self.feed.group_key("parked")).await?;
        let parked = fields.into_iter().map(|(field, block)| {
            let key = Key::of_field(&field).ok_or("a parked key without a topic")?;
            Ok(((key.topic.to_string(), key.key.to_string()), block))
        });
        parked.collect()
    }

    async fn names(&self) -> Result<Vec<Row>, BoxError> {
        let names = self.hash(self.feed.key("names")).await?;
        let names = names.into_iter();
        let names = names.map(|(user, name)| Ok((user.parse::<i64>()?, name)));
        let names = names.collect::<Result<BTreeMap<i64, String>, BoxError>>()?;
        let rows = names.into_iter();
        Ok(rows
            .map(|(user, name)| Row::new([Field::Number(user)], name))
            .collect())
    }

    async fn versions(&self) -> Result<Vec<Row>, BoxError> {
        let topics: BTreeSet<&str> = TOPICS.iter().map(|topic| topic.name).collect();
        let mut rows = Vec::new();
        for topic in topics {
            let key = self.feed.group_key(&format!("versions:{topic}"));
            let versions = self.hash(key).await?.into_iter();
            rows.extend(
                versions.map(|(key, version)| Row::new([text(topic), text(&key)], version)),
            );
        }
        Ok(rows)
    }

    async fn waiting(&self) -> Result<Vec<Row>, BoxError> {
        let mut rows = Vec::new();
        for (topic, key) in self.parked().await?.into_keys() {
            let waiting = self.feed.group_key(&format!("waiting:{topic}/{key}"));
            let found: Vec<(String, i64)> = self
                .ask(|pipeline| pipeline.zrange_withscores(waiting, 0, -1))
                .await?;
            rows.extend(found.into_iter().map(|(record, version)| {
                let key = [text(&topic), text(&key), Field::Number(version)];
                Row::new(key, record)
            }));
        }
        Ok(rows)
    }

    /// The rows of one stream.
    async fn stream(
        &self,
        of: Stream,
        bounds: &BTreeMap<String, String>,
    ) -> Result<Vec<Row>, BoxError> {
        let name = name(of);
        let list = self.feed.key(&format!("activity:{name}"));
        let index = self.feed.key(&format!("index:{name}"));
        let entries: Vec<String> = self.ask(|pipeline| pipeline.lrange(list, 0, -1)).await?;
        let members: Vec<String> = self
            .ask(|pipeline| pipeline.zrevrange(index, 0, -1))
            .await?;
        if entries.len() != members.len() {
            return Err(format!("stream {name} and its index differ").into());
        }
        let mut rows = Vec::with_capacity(entries.len() + 1);
        for (entry_text, of_index) in entries.iter().zip(members) {
            let shown = Rendered::read(entry_text).ok_or("an entry that is none of ours")?;
            if of_index != member(shown.place().id, shown.user_id()) {
                return Err(format!("stream {name} and its index differ").into());
            }
            rows.push(entry(of, &shown));
        }
        rows.extend(bounds.get(&name).map(|text| bound(of, text.as_str())));
        Ok(rows)
    }

    async fn all(&self) -> Result<Vec<Row>, BoxError> {
        match self.of {
            Of::Names => self.names().await,
            Of::Closed => {
                let closed = self.numbers(self.feed.key("closed")).await?.into_iter();
                Ok(closed
                    .map(|user| Row::new([Field::Number(user)], ""))
                    .collect())
            }
            Of::Versions => self.versions().await,
            Of::Parked => {
                let parked = self.parked().await?.into_iter();
                let row = |((topic, key), block): ((String, String), String)| {
                    Row::new([text(&topic), text(&key)], block)
                };
                Ok(parked.map(row).collect())
            }
            Of::Waiting => self.waiting().await,
            Of::Counters => {
                let state = self.hash(self.feed.group_key("state")).await?;
                let last = state.get(LAST).into_iter();
                Ok(last
                    .map(|last| Row::new([text(LAST)], last.as_str()))
                    .collect())
            }
            Of::Offsets => {
                let offsets = self.hash(self.feed.group_key("offsets")).await?.into_iter();
                Ok(offsets
                    .map(|(partition, next)| Row::new([text(&partition)], next))
                    .collect())
            }
            // Read one by one.
            Of::Streams => Ok(Vec::new()),
        }
    }

    async fn say(&self, words: Words) -> Result<(), BoxError> {
        if words.is_empty() {
            return Ok(());
        }
        self.feed.group().say(words).await
    }

    /// Puts entries in, as their events would, and sets the bounds behind them.
    async fn put(&self, rows: Vec<Row>) -> Result<(), BoxError> {
        let mut words = Words::default();
        for row in rows {
            let [Field::Number(of), Field::Number(kind), ..] = row.key[..] else {
                return Err("no row of a stream".into());
            };
            if kind == 0 {
                let entry = Rendered::read(&row.text).ok_or("an entry that is none of ours")?;
                let Keyset {
                    ms: created_ms,
                    id: post_id,
                } = entry.place();
                let user = entry.user_id();
                words.say("put").say(member(post_id, user)).number(user);
                // Nothing is being made anew, so when it happened and which version it is are not asked.
                words.number(created_ms).number(created_ms).number(0);
                words.say(row.text);
            } else {
                self.say(std::mem::take(&mut words)).await?;
                let (bounds, name) = (self.feed.key("bounds"), name(stream(of)));
                let _: i64 = self
                    .ask(|pipeline| pipeline.hset(bounds, name, row.text))
                    .await?;
            }
        }
        self.say(words).await
    }
}

#[async_trait]
impl Side for There {
    async fn read(&self, rows: &Rows) -> Result<(), BoxError> {
        for row in self.all().await? {
            if !rows.give(row).await {
                return Ok(());
            }
        }
        if self.of != Of::Streams {
            return Ok(());
        }
        let bounds = self.hash(self.feed.key("bounds")).await?;
        let users = self.numbers(self.feed.key("users")).await?;
        let streams = users.into_iter().map(Stream::User);
        for of in std::iter::once(Stream::Global).chain(streams) {
            for row in self.stream(of, &bounds).await? {
                if !rows.give(row).await {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Target for There {
    async fn insert(&self, rows: Vec<Row>) -> Result<(), BoxError> {
        if self.of == Of::Streams {
            return self.put(rows).await;
        }
        let clock = Arc::clone(&self.feed.inner.settings.clock);
        let mut words = Words::default();
        let mut fields: Vec<(String, String)> = Vec::new();
        for row in rows {
            match (self.of, &row.key[..]) {
                (Of::Names, [Field::Number(user)]) => {
                    words.say("name").number(*user).say(row.text);
                    words.say(clock.id().to_string());
                }
                (Of::Closed, [Field::Number(user)]) => {
                    words.say("close").number(*user).say(clock.id().to_string());
                }
                (Of::Versions, [Field::Text(topic), Field::Text(key)]) => {
                    words.say("versions").say(topic.as_str()).number(2);
                    words.say(key.as_str()).say(row.text);
                }
                (Of::Waiting, [Field::Text(topic), Field::Text(key), Field::Number(version)]) => {
                    words
                        .say("park")
                        .say(format!("{topic}/{key}"))
                        .number(*version);
                    words.say(row.text);
                }
                (Of::Parked, [Field::Text(topic), Field::Text(key)]) => {
                    fields.push((format!("{topic}/{key}"), row.text));
                }
                (Of::Counters, [Field::Text(name)]) => fields.push((name.clone(), row.text)),
                _ => return Err("no row of this part".into()),
            }
        }
        if !fields.is_empty() {
            let hash = if self.of == Of::Parked {
                "parked"
            } else {
                "state"
            };
            let hash = self.feed.group_key(hash);
            let () = self
                .ask(|pipeline| pipeline.hset_multiple(hash, &fields))
                .await?;
        }
        self.say(words).await
    }
}
