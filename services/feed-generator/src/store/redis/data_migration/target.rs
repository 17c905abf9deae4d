//! Reads and writes what there is in Redis.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use blocks::consumer::Key;
use blocks::data_migration::{Key as Field, Row, Rows, Side, Target};
use blocks::error::BoxError;
use redis::Pipeline;

use super::{LAST, Of, bound, entry, stream, text};
use crate::consumer::TOPICS;
use crate::domain::Stream;
use crate::render::Rendered;
use crate::store::redis::RedisFeed;
use crate::store::redis::args::Args;
use crate::store::redis::group::Group;
use crate::store::redis::projection::member;
use crate::store::redis::streams::name;

/// The keys in Redis.
pub(super) struct There {
    pub(super) feed: RedisFeed,
    pub(super) group: Arc<Group>,
    pub(super) of: Of,
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
            let key = Key::parse(&field).ok_or("a parked key without a topic")?;
            Ok(((key.topic.to_string(), key.key.to_string()), block))
        });
        parked.collect()
    }

    async fn names(&self) -> Result<Vec<Row>, BoxError> {
        let names = self.hash(self.feed.key("names")).await?.into_iter();
        let rows = names.map(|(user, name)| Ok(Row::new([Field::Number(user.parse()?)], name)));
        let mut rows = rows.collect::<Result<Vec<Row>, BoxError>>()?;
        rows.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(rows)
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
        let [list, index] = self.feed.stream_keys(of);
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

    async fn write(&self, args: Args) -> Result<(), BoxError> {
        if args.is_empty() {
            return Ok(());
        }
        self.group.write_unchecked(args).await
    }

    /// Puts entries in, as their events would, and sets the bounds behind them.
    async fn put(&self, rows: Vec<Row>) -> Result<(), BoxError> {
        let mut args = Args::default();
        for row in rows {
            let [Field::Number(of), Field::Number(kind), ..] = row.key[..] else {
                return Err("no row of a stream".into());
            };
            if kind == 0 {
                let entry = Rendered::read(&row.text).ok_or("an entry that is none of ours")?;
                let (place, user) = (entry.place(), entry.user_id());
                args.push("put").push(member(place.id, user)).number(user);
                // No rebuild is under way, so the event's time and version are not asked for.
                args.number(place.ms).number(place.ms).number(0);
                args.push(row.text);
            } else {
                self.write(std::mem::take(&mut args)).await?;
                let (bounds, name) = (self.feed.key("bounds"), name(stream(of)));
                let _: i64 = self
                    .ask(|pipeline| pipeline.hset(bounds, name, row.text))
                    .await?;
            }
        }
        self.write(args).await
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
        let clock = &self.feed.inner.settings.clock;
        let mut args = Args::default();
        let mut fields: Vec<(String, String)> = Vec::new();
        for row in rows {
            match (self.of, &row.key[..]) {
                (Of::Names, [Field::Number(user)]) => {
                    args.push("name").number(*user).push(row.text);
                    args.push(clock.id().to_string());
                }
                (Of::Closed, [Field::Number(user)]) => {
                    args.push("close")
                        .number(*user)
                        .push(clock.id().to_string());
                    // It was answered from the folder.
                    args.push("").push("");
                }
                (Of::Versions, [Field::Text(topic), Field::Text(key)]) => {
                    args.push("versions").push(topic.as_str()).number(2);
                    args.push(key.as_str()).push(row.text);
                }
                (Of::Waiting, [Field::Text(topic), Field::Text(key), Field::Number(version)]) => {
                    args.push("park")
                        .push(format!("{topic}/{key}"))
                        .number(*version);
                    args.push(row.text);
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
        self.write(args).await
    }
}
