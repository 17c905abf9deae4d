//! The outbox for operators: list and republish.

use async_trait::async_trait;
use blocks::error::BoxError;
use blocks::outbox::{InspectOutbox, OutboxRow};
use chrono::{DateTime, Utc};
use events::Context;
use mongodb::bson::{Bson, Document, doc, to_bson};
use serde::Deserialize;
use sql::StoreError;

use super::document::{Shown, all, date, documents, read, time};
use super::error::failed;
use super::events::{EventDoc, enclose};
use super::outbox::{ARRANGED, as_arranged};
use super::posts::unwritable;
use super::{Mongo, OUTBOX, POSTS, authors};
use crate::domain;

const PAGE: i64 = 100;

/// The events of a document.
#[derive(Deserialize)]
struct Kept {
    #[serde(default)]
    pending: Vec<EventDoc>,
    #[serde(default)]
    refused: Vec<RefusedDoc>,
}

/// An event that the bus did not take.
#[derive(Deserialize)]
struct RefusedDoc {
    event: EventDoc,
    reason: String,
}

#[async_trait]
impl InspectOutbox for Mongo {
    /// Lists pending and refused events: published ones are not kept.
    async fn latest(&self, max: usize) -> Result<Vec<OutboxRow>, BoxError> {
        let mut rows = Vec::new();
        for (collection, field) in [(POSTS, "pending"), (POSTS, "refused"), (OUTBOX, "pending")] {
            let first = match field {
                "pending" => "pending.0.id",
                _ => "refused.0.event.id",
            };
            let found = self
                .collection(collection)
                .find(doc! {first: {"$gt": ""}})
                .sort(doc! {first: -1})
                .limit(i64::try_from(max)?)
                .projection(doc! {field: 1})
                .await;
            let kept: Vec<Kept> = all(self, collection, found).await?;
            rows.extend(kept.into_iter().flat_map(rows_of));
        }
        rows.sort_by(|one, other| other.position.cmp(&one.position));
        rows.truncate(max);
        Ok(rows)
    }

    async fn refused(&self) -> Result<i64, BoxError> {
        let mut refused = 0;
        for collection in [POSTS, OUTBOX] {
            let found = self
                .collection(collection)
                .find(doc! {"refused.0.event.id": {"$gt": ""}})
                .projection(doc! {"refused.event.id": 1})
                .await;
            for document in documents(found).await? {
                let events = document.get_array("refused").map_or(0, Vec::len);
                refused += i64::try_from(events)?;
            }
        }
        Ok(refused)
    }

    async fn republish(&self, since: DateTime<Utc>) -> Result<u64, BoxError> {
        let mut made_pending = 0;
        let mut after = String::new();
        loop {
            let found = self
                .collection(POSTS)
                .find(doc! {"_id": {"$gt": &after}, "updated_at": {"$gte": date(since)}})
                .sort(doc! {"_id": 1})
                .limit(PAGE)
                .await;
            let found = documents(found).await?;
            let last = found
                .last()
                .and_then(|document| document.get_str("_id").ok());
            let Some(last) = last.map(str::to_owned) else {
                return Ok(made_pending);
            };
            for document in found {
                made_pending += self.republish_post(document).await?;
            }
            after = last;
        }
    }
}

impl Mongo {
    /// Makes a post's refused events pending again, and its last event, unless that is pending
    /// anyway.
    async fn republish_post(&self, document: Document) -> Result<u64, BoxError> {
        let Some(kept) = read::<Kept>(self, POSTS, document.clone()) else {
            return Ok(0);
        };
        let unchanged = as_arranged(&document);
        let Some(shown) = read::<Shown>(self, POSTS, document) else {
            return Ok(0);
        };
        let version = shown.version;
        let mut events: Vec<EventDoc> = kept.refused.into_iter().map(|of| of.event).collect();
        let mut added = events.len();
        events.extend(kept.pending);
        events.sort_by_key(|event| event.version);
        if events.last().is_none_or(|last| last.version < version)
            && let Some(last) = self.last_event(shown).await?
        {
            events.push(last);
            added += 1;
        }
        if added == 0 {
            return Ok(0);
        }
        let events = events.iter().map(to_bson).collect::<Result<Vec<Bson>, _>>();
        let events = events.map_err(unwritable)?;
        let change = doc! {
            "$set": {"pending": events}, "$unset": {"refused": ""}, "$inc": {ARRANGED: 1},
        };
        let done = self.collection(POSTS).update_one(unchanged, change).await;
        let done = done.map_err(failed)?.matched_count;
        Ok(if done == 1 { u64::try_from(added)? } else { 0 })
    }

    /// Makes the last event of a post from its state. `None` if the account was closed, but the post
    /// is not deleted yet.
    async fn last_event(&self, shown: Shown) -> Result<Option<EventDoc>, StoreError> {
        let (version, at) = (shown.version, time(shown.updated_at));
        let context = Context::default();
        if shown.deleted {
            let event = domain::deleted(shown.id, shown.user_id);
            return Ok(Some(enclose(self, &event, version, context, at)?.0));
        }
        let names = authors::names(self, [shown.user_id].into()).await?;
        let Some(post) = super::posts::named(&names, shown) else {
            return Ok(None);
        };
        let event = match version {
            1 => enclose(self, &post.created(), version, context, at)?.0,
            _ => enclose(self, &post.updated(), version, context, at)?.0,
        };
        Ok(Some(event))
    }
}

fn rows_of(kept: Kept) -> impl Iterator<Item = OutboxRow> {
    let pending = kept.pending.into_iter().map(|event| row(event, None));
    let refused = kept.refused.into_iter();
    pending.chain(refused.map(|of| row(of.event, Some(of.reason))))
}

fn row(event: EventDoc, refused: Option<String>) -> OutboxRow {
    let status = if refused.is_some() {
        "refused"
    } else {
        "pending"
    };
    OutboxRow {
        position: event.id,
        status: status.to_owned(),
        event_type: event.event_type,
        topic: event.topic,
        key: event.key,
        version: event.version,
        created_at: time(event.at),
        published_at: None,
        error: refused,
    }
}
