//! Reads pages of the streams: one round trip a page, and a second one for names not known yet.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use blocks::error::BoxError;
use blocks::service::Check;
use bytes::Bytes;
use parking_lot::Mutex;
use redis::Pipeline;

use super::RedisFeed;
use super::args::Args;
use crate::domain::{Start, Stream, Window};
use crate::error::FeedError;
use crate::rebuild::Targets;
use crate::render::{self, Named, Rendered, Slice};
use crate::store::{Counts, FeedStore};

/// Most names that are remembered.
const NAMES: usize = 20_000;

/// Names as JSON text, valid while the mark is the same: each change of a name changes it.
#[derive(Default)]
pub(super) struct Names(Mutex<Known>);

#[derive(Default)]
struct Known {
    mark: String,
    names: HashMap<i64, Option<Arc<str>>>,
}

impl Known {
    fn of(&self, user_id: i64) -> Option<Arc<str>> {
        self.names.get(&user_id).cloned().flatten()
    }
}

/// Parses an entry; `None` if it is none of ours.
fn read(text: &[u8]) -> Option<Rendered> {
    Rendered::read(std::str::from_utf8(text).ok()?)
}

fn index_of(place: usize) -> isize {
    isize::try_from(place).unwrap_or(isize::MAX)
}

/// A stream's name in its keys.
pub(super) fn name(stream: Stream) -> String {
    match stream {
        Stream::Global => "global".to_owned(),
        Stream::User(user) => format!("user:{user}"),
    }
}

impl RedisFeed {
    /// The keys of a stream's list and of its index.
    pub(super) fn stream_keys(&self, stream: Stream) -> [String; 2] {
        let of = name(stream);
        [
            self.key(&format!("activity:{of}")),
            self.key(&format!("index:{of}")),
        ]
    }

    /// The mark of the names, the stream's length, and up to `limit` entries of `window`.
    async fn snapshot(
        &self,
        window: &Window,
        limit: usize,
    ) -> Result<(String, usize, Vec<Vec<u8>>), FeedError> {
        let [list, index] = self.stream_keys(window.stream);
        let state = self.key("state");
        let link = &self.inner.link;
        match window.start {
            Start::After(place) if limit > 0 => {
                let mut args = Args::default();
                args.push(list).push(index).push(state);
                args.number(place.ms).push(place.id.to_string());
                args.push(limit.to_string());
                link.read_by(&self.inner.page, &args).await
            }
            start => {
                let skip = match start {
                    Start::Skip(skip) => skip,
                    Start::After(_) => 0,
                };
                // A range that ends before it begins is empty.
                let (first, end) = match limit {
                    0 => (1, 0),
                    _ => (index_of(skip), index_of(skip.saturating_add(limit - 1))),
                };
                let mut pipeline = Pipeline::new();
                pipeline.hget(state, "names").llen(&list);
                pipeline.lrange(&list, first, end);
                let (mark, length, entries): (Option<String>, _, _) = link.read(&pipeline).await?;
                Ok((mark.unwrap_or_default(), length, entries))
            }
        }
    }

    /// Asks for a rebuild from the log: somebody else wrote into a stream.
    async fn mend(&self, stream: Stream) -> Result<(), FeedError> {
        let [list, _] = self.stream_keys(stream);
        let mut pipeline = Pipeline::new();
        pipeline.hset_nx(self.key("state"), "refill", "1");
        let (is_news,): (bool,) = self.inner.link.read(&pipeline).await?;
        if is_news {
            tracing::error!(
                key = list,
                "an entry is not as this service writes it and is passed over: the log is read again"
            );
        }
        Ok(())
    }

    /// The entries with their authors' names as of `mark`, or later.
    async fn named(&self, entries: Vec<Rendered>, mark: String) -> Result<Vec<Named>, FeedError> {
        let mut unknown: Vec<i64> = {
            let mut known = self.inner.names.0.lock();
            if known.mark != mark || known.names.len() > NAMES {
                known.names.clear();
                known.mark.clone_from(&mark);
            }
            let authors = entries.iter().map(Rendered::user_id);
            authors
                .filter(|user| !known.names.contains_key(user))
                .collect()
        };
        unknown.sort_unstable();
        unknown.dedup();
        let mut read: HashMap<i64, Option<Arc<str>>> = HashMap::new();
        if !unknown.is_empty() {
            let mut pipeline = Pipeline::new();
            pipeline.hmget(self.key("names"), &unknown);
            let (names,): (Vec<Option<String>>,) = self.inner.link.read(&pipeline).await?;
            let names = names
                .into_iter()
                .map(|name| name.as_deref().map(render::name));
            read = unknown.into_iter().zip(names).collect();
        }
        let mut known = self.inner.names.0.lock();
        let named = entries
            .into_iter()
            .map(|entry| {
                let user = entry.user_id();
                let name = read.get(&user).cloned().unwrap_or_else(|| known.of(user));
                (Arc::new(entry), name)
            })
            .collect();
        if known.mark == mark {
            known.names.extend(read);
        }
        Ok(named)
    }
}

#[async_trait]
impl FeedStore for RedisFeed {
    async fn page(&self, window: &Window) -> Result<Bytes, FeedError> {
        let (mark, length, mut texts) = self.snapshot(window, window.rows()).await?;
        let more = window.cut(&mut texts);
        let entries: Vec<Rendered> = texts.iter().filter_map(|text| read(text)).collect();
        if entries.len() < texts.len() {
            self.mend(window.stream).await?;
        }
        let slice = Slice {
            items: self.named(entries, mark).await?,
            total: length.min(window.stream.length()),
            more,
        };
        Ok(slice.render(window))
    }

    async fn counts(&self) -> Result<Counts, FeedError> {
        let [global, _] = self.stream_keys(Stream::Global);
        let mut pipeline = Pipeline::new();
        pipeline.llen(global).scard(self.key("users"));
        let (activities, streams): (usize, usize) = self.inner.link.read(&pipeline).await?;
        Ok(Counts {
            activities: activities.min(Stream::Global.length()),
            streams,
        })
    }

    async fn targets(&self) -> Result<Option<Targets>, FeedError> {
        let mut pipeline = Pipeline::new();
        pipeline.hget(self.key("state"), "targets");
        let (targets,): (Option<String>,) = self.inner.link.read(&pipeline).await?;
        let targets = targets.map(|text| serde_json::from_str(&text)).transpose();
        targets.map_err(|error| FeedError::Failed(error.into()))
    }
}

#[async_trait]
impl Check for RedisFeed {
    fn name(&self) -> &'static str {
        "database"
    }

    async fn check(&self) -> Result<(), BoxError> {
        let mut pipeline = Pipeline::new();
        pipeline.ping();
        let (_pong,): (String,) = self.inner.link.read(&pipeline).await?;
        Ok(())
    }
}
