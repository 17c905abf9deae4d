//! The outbox: pending events in the posts' own documents, and events of no post in documents of their
//! own.

use async_trait::async_trait;
use blocks::error::BoxError;
use blocks::outbox::{Depth, Lease, Outbox, Pending, Place, Published};
use chrono::{DateTime, Utc};
use mongodb::bson::{self, Bson, Document, doc, to_bson};
use serde::Deserialize;
use sql::StoreError;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::document::{date, documents, read, time};
use super::error::failed;
use super::events::EventDoc;
use super::posts::unwritable;
use super::{Mongo, OUTBOX, POSTS, lease};

/// Most documents whose events are counted one by one.
const COUNTED: i64 = 1000;
/// Most tries to set an event aside while others change its document.
const ATTEMPTS: usize = 16;

/// A document with pending events.
#[derive(Deserialize)]
struct Waiting {
    pending: Vec<EventDoc>,
}

/// The commit time of an event.
#[derive(Deserialize)]
struct Oldest {
    pending: Vec<Committed>,
}

#[derive(Deserialize)]
struct Committed {
    at: bson::DateTime,
}

#[async_trait]
impl Outbox for Mongo {
    fn service(&self) -> &'static str {
        self.settings().service
    }

    fn committed(&self) -> Option<mpsc::Receiver<Vec<Pending>>> {
        self.inner.committed.lock().take()
    }

    fn fell_behind(&self) -> bool {
        self.inner.hand_over.fell_behind()
    }

    fn hides_some(&self) -> bool {
        true
    }

    /// Finds documents by their first pending event; the events behind it come along. An event left
    /// out of a full page is not older than the first event of any document in it.
    async fn pending(
        &self,
        before: Option<DateTime<Utc>>,
        after: Place,
        max: usize,
    ) -> Result<Vec<Pending>, BoxError> {
        let mut events = self.page(POSTS, before, after, max).await?;
        events.extend(self.page(OUTBOX, before, after, max).await?);
        events.sort_by_key(|event| event.place);
        events.truncate(max);
        Ok(events)
    }

    /// Takes published events out of their documents, which keep nothing of them. Only events at the
    /// front of a document are taken, so none goes unpublished, whatever is pushed behind them
    /// meanwhile. A published event behind an unpublished one stays, and is published again with it.
    async fn mark_published(&self, events: &[Published]) -> Result<(), BoxError> {
        let statements = events.iter().map(|event| {
            doc! {
                "q": {"_id": &event.key, "pending.0.id": id(&event.place)},
                "u": {"$pop": {"pending": -1}},
            }
        });
        let marked = self.update_each(POSTS, statements.collect()).await?;
        if marked < events.len() {
            let ids: Vec<String> = events.iter().map(|event| id(&event.place)).collect();
            let of_no_post = self.collection(OUTBOX);
            let published = of_no_post.delete_many(doc! {"_id": {"$in": ids}}).await;
            published.map_err(failed)?;
        }
        Ok(())
    }

    async fn mark_refused(&self, place: Place, reason: &str) -> Result<(), BoxError> {
        for collection in [POSTS, OUTBOX] {
            if self.set_aside(collection, &id(&place), reason).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Counts the pending events of up to [`COUNTED`] documents; each document beyond counts as one
    /// event.
    async fn depth(&self) -> Result<Depth, BoxError> {
        let mut depth = Depth::default();
        for collection in [POSTS, OUTBOX] {
            let holders = self.collection(collection);
            let found = holders
                .find(waiting(""))
                .limit(COUNTED)
                .projection(doc! {"pending.at": 1})
                .await;
            let found = documents(found).await?;
            if i64::try_from(found.len())? == COUNTED {
                let count = holders.count_documents(waiting("")).await;
                depth.pending += i64::try_from(count.map_err(failed)?)? - COUNTED;
            }
            for document in found {
                let events: Option<Oldest> = read(self, collection, document);
                let Some(events) = events else { continue };
                depth.pending += i64::try_from(events.pending.len())?;
                let first = events.pending.first().map(|first| time(first.at));
                depth.oldest = [depth.oldest, first].into_iter().flatten().min();
            }
        }
        Ok(depth)
    }

    /// Judges by the first event of each document, which is its oldest.
    async fn keys_pending_before(&self, time: DateTime<Utc>) -> Result<i64, BoxError> {
        let mut older = 0;
        for collection in [POSTS, OUTBOX] {
            let mut wanted = waiting("");
            wanted.insert("pending.0.at", doc! {"$lt": date(time)});
            let count = self.collection(collection).count_documents(wanted).await;
            older += i64::try_from(count.map_err(failed)?)?;
        }
        Ok(older)
    }

    async fn lease(&self, holder: Uuid) -> Result<Option<Lease>, BoxError> {
        Ok(lease::take(self, holder).await?)
    }

    /// Published events are not kept, so there is nothing to remove.
    async fn remove_published(&self, _: DateTime<Utc>) -> Result<u64, BoxError> {
        Ok(0)
    }
}

impl Mongo {
    /// Writes events that belong to no post.
    pub(super) async fn enqueue(&self, events: Vec<EventDoc>) -> Result<(), StoreError> {
        let mut documents = Vec::new();
        for event in events.into_iter().flat_map(|event| self.kept(event)) {
            let pending = to_bson(&[&event]).map_err(unwritable)?;
            documents.push(doc! {"_id": event.id, "pending": pending});
        }
        if !documents.is_empty() {
            let inserted = self.collection(OUTBOX).insert_many(documents).await;
            inserted.map_err(failed)?;
        }
        Ok(())
    }

    /// Events of a collection after a place.
    async fn page(
        &self,
        collection: &str,
        before: Option<DateTime<Utc>>,
        after: Place,
        max: usize,
    ) -> Result<Vec<Pending>, StoreError> {
        let mut begin = match after {
            Place::START => String::new(),
            after => id(&after),
        };
        loop {
            let mut wanted = waiting(&begin);
            if let Some(before) = before {
                wanted.insert("pending.0.at", doc! {"$lt": date(before)});
            }
            let found = self
                .collection(collection)
                .find(wanted)
                .sort(doc! {"pending.0.id": 1})
                .limit(i64::try_from(max).unwrap_or(i64::MAX))
                .projection(doc! {"pending": 1})
                .await;
            let found = documents(found).await?;
            let full = found.len() >= max;
            let last = found.last().and_then(first_id);
            let events = self.read_page(collection, found);
            match last {
                // All of them are unreadable: later events must not wait for a repair.
                Some(last) if full && events.is_empty() => begin = last,
                _ => return Ok(events),
            }
        }
    }

    fn read_page(&self, collection: &str, found: Vec<Document>) -> Vec<Pending> {
        let mut events = Vec::new();
        for document in found {
            let id = document.get("_id").cloned();
            let Some(waiting) = read::<Waiting>(self, collection, document) else {
                continue;
            };
            for event in waiting.pending {
                match event.pending() {
                    Ok(event) => events.push(event),
                    Err(why) => {
                        // Events behind it wait, too: they are about the same post.
                        self.complain(collection, id.as_ref(), &why);
                        break;
                    }
                }
            }
        }
        events
    }

    /// Moves an event from the pending to the refused ones; false when it is not here.
    async fn set_aside(
        &self,
        collection: &str,
        id: &str,
        reason: &str,
    ) -> Result<bool, StoreError> {
        let documents = self.collection(collection);
        for _ in 0..ATTEMPTS {
            let found = documents.find_one(doc! {"pending.id": id}).await;
            let Some(found) = found.map_err(failed)? else {
                return Ok(false);
            };
            let events = found.get_array("pending").cloned().unwrap_or_default();
            let is_refused = |event: &Bson| {
                let event = event.as_document();
                event.is_some_and(|event| event.get_str("id") == Ok(id))
            };
            let (refused, rest): (Vec<Bson>, Vec<Bson>) = events.into_iter().partition(is_refused);
            let Some(event) = refused.into_iter().next() else {
                return Ok(false);
            };
            let change = doc! {
                "$set": {"pending": rest},
                "$push": {"refused": {"event": event, "reason": reason}},
                "$inc": {ARRANGED: 1},
            };
            let done = documents.update_one(as_arranged(&found), change).await;
            if done.map_err(failed)?.matched_count == 1 {
                return Ok(true);
            }
        }
        Err(StoreError::Unavailable(
            "the post of a refused event keeps changing".into(),
        ))
    }
}

/// The field that counts rearrangements of a document's events, which don't change its version.
pub(super) const ARRANGED: &str = "arranged";

/// Matches the document as it was found: no event pushed or rearranged since. An event taken out
/// meanwhile comes back by the overwrite, and is published twice at worst.
pub(super) fn as_arranged(found: &Document) -> Document {
    let mut unchanged = doc! {"_id": found.get("_id")};
    if let Some(version) = found.get("version") {
        unchanged.insert("version", version);
    }
    match found.get(ARRANGED) {
        Some(times) => unchanged.insert(ARRANGED, times),
        None => unchanged.insert(ARRANGED, doc! {"$exists": false}),
    };
    unchanged
}

/// Matches documents whose first pending event is after `id`.
fn waiting(id: &str) -> Document {
    doc! {"pending.0.id": {"$gt": id}}
}

fn id(place: &Place) -> String {
    place.as_id().to_string()
}

fn first_id(document: &Document) -> Option<String> {
    let first = document.get_array("pending").ok()?.first()?.as_document()?;
    first.get_str("id").ok().map(str::to_owned)
}
