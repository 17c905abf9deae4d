//! The streams in SQL tables with their newest entries in memory: for one process. The memory
//! follows this process's writes only; a fleet needs a shared adapter.

use blocks::extract::Keyset;
use std::sync::Arc;

use ::sql::{Db, StoreError, fetch_optional};
use async_trait::async_trait;
use blocks::error::BoxError;
use blocks::service::Check;
use bytes::Bytes;

use super::rows::{self, newest};
use super::{Counts, FeedStore};
use crate::domain::{Start, Stream, Window};
use crate::error::FeedError;
use crate::mirror::{Look, Mirror};
use crate::rebuild::{self, Targets};
use crate::render::Slice;

/// The streams in a database.
pub struct SqlFeed {
    db: Db,
    mirror: Arc<Mirror>,
}

impl SqlFeed {
    /// The streams in `db`, with `mirror` filled from it.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn open(db: Db, mirror: Arc<Mirror>) -> Result<Self, StoreError> {
        let mut reader = db.read().await?;
        let (entries, complete) = newest(&mut reader, &mirror).await?;
        drop(reader);
        mirror.replace(entries, complete);
        Ok(Self { db, mirror })
    }

    /// Reads the window from the tables.
    async fn read(&self, window: &Window) -> Result<Slice, StoreError> {
        let (after, skip) = match window.start {
            Start::Skip(skip) => (Keyset::TOP, skip),
            Start::After(place) => (place, 0),
        };
        let mut reader = self.db.read().await?;
        let total = rows::total(&mut reader, window.stream).await?;
        let mut items = match window.rows() {
            0 => Vec::new(),
            rows => rows::entries(&mut reader, window.stream, after, skip, rows).await?,
        };
        let more = window.cut(&mut items);
        Ok(Slice { items, total, more })
    }
}

#[async_trait]
impl FeedStore for SqlFeed {
    async fn page(&self, window: &Window) -> Result<Bytes, FeedError> {
        let (slice, seen) = match self.mirror.look(window) {
            Look::Page(page) => return Ok(page),
            Look::Slice(slice, seen) => (slice, seen),
            Look::Beyond(seen) => (self.read(window).await?, seen),
        };
        let page = slice.render(window);
        self.mirror.keep(window, seen, &slice, &page);
        Ok(page)
    }

    async fn counts(&self) -> Result<Counts, FeedError> {
        if let (Some(activities), Some(streams)) = (self.mirror.total(), self.mirror.streams()) {
            return Ok(Counts {
                activities,
                streams,
            });
        }
        let mut reader = self.db.read().await?;
        Ok(Counts {
            activities: rows::total(&mut reader, Stream::Global).await?,
            streams: rows::streams(&mut reader).await?,
        })
    }

    async fn targets(&self) -> Result<Option<Targets>, FeedError> {
        Ok(rebuild::targets(&self.db).await?)
    }

    async fn is_erasing(&self) -> Result<bool, FeedError> {
        let mut reader = self.db.read().await?;
        let due: Option<i64> = fetch_optional!(reader, scalar
            "select user_id from authors where erased is not null limit 1")?;
        Ok(due.is_some())
    }
}

#[async_trait]
impl Check for SqlFeed {
    fn name(&self) -> &'static str {
        "database"
    }

    async fn check(&self) -> Result<(), BoxError> {
        self.db.check().await
    }
}
