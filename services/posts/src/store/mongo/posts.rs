//! The port to the posts.

use async_trait::async_trait;
use blocks::context;
use blocks::extract::{COUNTED_ROWS, KeyRefused, KeyedRequest, Keyset, Span};
use blocks::outbox::Pending;
use chrono::{DateTime, Utc};
use events::Context;
use events::posts::{PostDeleted, PostUpdated};
use mongodb::bson::{Document, doc, to_bson, to_document};
use sql::StoreError;
use sql::accounts::Closed;
use tokio::time::Instant;
use uuid::Uuid;

use super::document::{PostDoc, RequestDoc, Shown, all, date, read, time};
use super::error::{failed, is_duplicate};
use super::events::enclose;
use super::names::{Known, LASTS};
use super::{Mongo, POSTS, authors, closing};
use crate::domain::{Author, Draft, Post, Tag};
use crate::error::PostError;
use crate::removal::PAGE;
use crate::store::{Filter, PostStore};

/// Most tries to take a key that was just forgotten.
const ATTEMPTS: usize = 16;

pub struct MongoPosts(Mongo);

impl MongoPosts {
    /// Keeps posts in `mongo`.
    pub fn new(mongo: Mongo) -> Self {
        Self(mongo)
    }

    fn now(&self) -> DateTime<Utc> {
        self.0.settings().clock.now()
    }

    /// The outcome of an earlier request with the same key; `None` when it is forgotten.
    async fn seen(
        &self,
        draft: &Draft,
        author: &Author,
        request: &KeyedRequest,
        id: &str,
    ) -> Result<Option<Post>, PostError> {
        let posts = self.0.collection(POSTS);
        let found = posts.find_one(doc! {"request.id": id}).await;
        let Some(found) = found.map_err(failed)? else {
            return Ok(None);
        };
        let Some(found) = read::<PostDoc>(&self.0, POSTS, found) else {
            let why = "a post under this idempotency key can't be read";
            return Err(StoreError::Rejected(why.into()).into());
        };
        let Some(before) = found.request else {
            return Ok(None);
        };
        if time(before.created_at) <= self.now() - KeyedRequest::KEPT {
            // Matched by time, too: another request may have taken the key meanwhile.
            let forgotten = doc! {
                "_id": &found.id, "request.id": id, "request.created_at": before.created_at,
            };
            let forget = posts.update_one(forgotten, doc! {"$unset": {"request": ""}});
            forget.await.map_err(failed)?;
            return Ok(None);
        }
        if before.fingerprint != request.fingerprint {
            return Err(KeyRefused::Reused.into());
        }
        let post_id =
            Uuid::try_parse(&found.id).map_err(|error| StoreError::Rejected(Box::new(error)))?;
        let author = Author {
            id: author.id,
            name: before.username,
        };
        let (post, _) = draft
            .clone()
            .publish(post_id, author, time(before.created_at));
        Ok(Some(post))
    }
}

#[async_trait]
impl PostStore for MongoPosts {
    async fn create(
        &self,
        draft: Draft,
        author: Author,
        request: Option<KeyedRequest>,
    ) -> Result<Post, PostError> {
        let (id, now) = (self.0.settings().clock.id(), self.now());
        let (known, since) = authors::known(&self.0, author.id).await?;
        let name = match known {
            Known::Closed => return Err(Closed.into()),
            Known::Name(name) => name,
            Known::Nothing => author.name.clone(),
        };
        let author = Author { name, ..author };
        let (post, event) = draft.clone().publish(id, author.clone(), now);
        let context = context::for_events();
        let (event, pending) = enclose(&self.0, &event, post.version, context, now)?;
        let request_id = request
            .as_ref()
            .map(|request| format!("{}:{}", author.id, request.key));
        let document = PostDoc {
            id: id.to_string(),
            user_id: author.id,
            username: author.name.clone(),
            title: post.title.clone(),
            content: post.content.clone(),
            tags: Tag::texts(&post.tags),
            version: post.version,
            created_at: date(now),
            updated_at: date(now),
            deleted: false,
            pending: self.0.kept(event),
            request: request
                .as_ref()
                .zip(request_id.clone())
                .map(|(request, id)| RequestDoc {
                    id,
                    fingerprint: request.fingerprint.clone(),
                    username: author.name.clone(),
                    created_at: date(now),
                }),
        };
        let document = to_document(&document).map_err(unwritable)?;
        for _ in 0..ATTEMPTS {
            let inserted = self.0.insert(document.clone(), pending.clone()).await;
            match (inserted, &request, &request_id) {
                (Ok(()), _, _) => {
                    if self.closed_meanwhile(author.id, since).await? {
                        // The closing may have searched for posts before this one came.
                        let context = context::for_events();
                        closing::delete_posts(&self.0, author.id, PAGE, &context).await?;
                        return Err(Closed.into());
                    }
                    return Ok(post);
                }
                (Err(error), Some(request), Some(id)) if is_duplicate(&error) => {
                    if let Some(seen) = self.seen(&draft, &author, request, id).await? {
                        return Ok(seen);
                    }
                }
                (Err(error), _, _) => return Err(failed(error).into()),
            }
        }
        Err(StoreError::Unavailable("an idempotency key kept changing hands".into()).into())
    }

    async fn update(&self, post: &Post, event: &PostUpdated) -> Result<bool, StoreError> {
        let context = context::for_events();
        let at = post.updated_at;
        let (event, pending) = enclose(&self.0, event, post.version, context, at)?;
        let change = doc! {
            "$set": {
                "title": &post.title, "content": &post.content, "tags": Tag::texts(&post.tags),
                "updated_at": date(post.updated_at), "version": post.version,
            },
            "$push": {"pending": {"$each": to_bson(&self.0.kept(event)).map_err(unwritable)?}},
        };
        let of = version_of(post.id, post.version - 1);
        change_one(&self.0, of, change, pending).await
    }

    async fn delete(&self, post: &Post, event: &PostDeleted) -> Result<bool, StoreError> {
        bury(
            &self.0,
            (post.id, post.version),
            event,
            context::for_events(),
            doc! {},
        )
        .await
    }

    async fn get(&self, id: Uuid) -> Result<Option<Post>, StoreError> {
        let posts = self.0.collection(POSTS);
        let found = posts
            .find_one(doc! {"_id": id.to_string()})
            .projection(shown())
            .await
            .map_err(failed)?;
        let shown: Option<Shown> = found.and_then(|found| read(&self.0, POSTS, found));
        let Some(shown) = shown.filter(|shown| !shown.deleted) else {
            return Ok(None);
        };
        let names = authors::names(&self.0, [shown.user_id].into()).await?;
        Ok(named(&names, shown))
    }

    async fn newest(&self, filter: &Filter, span: Span) -> Result<Vec<Post>, StoreError> {
        let Span { after, skip, limit } = span;
        let mut wanted = standing(filter);
        if after != Keyset::TOP {
            let (at, id) = (date(after.at()), after.id.to_string());
            let before = [
                doc! {"created_at": {"$lt": at}},
                doc! {"created_at": at, "_id": {"$lt": id}},
            ];
            wanted.insert("$or", before.to_vec());
        }
        let found = self
            .0
            .collection(POSTS)
            .find(wanted)
            .sort(doc! {"created_at": -1, "_id": -1})
            .skip(u64::try_from(skip).unwrap_or_default())
            .limit(limit)
            .projection(shown())
            .await;
        let shown: Vec<Shown> = all(&self.0, POSTS, found).await?;
        let authors = shown.iter().map(|shown| shown.user_id).collect();
        let names = authors::names(&self.0, authors).await?;
        let posts = shown.into_iter().filter_map(|shown| named(&names, shown));
        Ok(posts.collect())
    }

    async fn count(&self, filter: &Filter) -> Result<i64, StoreError> {
        let posts = self.0.collection(POSTS);
        let most = u64::try_from(COUNTED_ROWS).unwrap_or_default();
        let count = posts.count_documents(standing(filter)).limit(most).await;
        Ok(i64::try_from(count.map_err(failed)?).unwrap_or(i64::MAX))
    }
}

impl MongoPosts {
    /// True if the account was closed since it was read.
    async fn closed_meanwhile(&self, user_id: i64, since: Instant) -> Result<bool, StoreError> {
        if self.0.names().is_closed(user_id) {
            return Ok(true);
        }
        // A closing in another process waits for inserts that take no longer than this.
        if since.elapsed() < LASTS {
            return Ok(false);
        }
        let (known, _) = authors::known(&self.0, user_id).await?;
        Ok(known == Known::Closed)
    }
}

/// Makes a post a tombstone with the fields `marks`, and the event; false when the version is not its last one.
pub(super) async fn bury(
    mongo: &Mongo,
    (id, version): (Uuid, i64),
    event: &PostDeleted,
    context: Context,
    marks: Document,
) -> Result<bool, StoreError> {
    let now = mongo.settings().clock.now();
    let (event, pending) = enclose(mongo, event, version + 1, context, now)?;
    let nothing: [&str; 0] = [];
    let mut tombstone = doc! {
        "title": "", "content": "", "tags": nothing.as_slice(), "username": "",
        "deleted": true, "version": version + 1, "updated_at": date(now),
    };
    tombstone.extend(marks);
    let change = doc! {
        "$set": tombstone,
        "$push": {"pending": {"$each": to_bson(&mongo.kept(event)).map_err(unwritable)?}},
    };
    change_one(mongo, version_of(id, version), change, pending).await
}

/// Changes a post and gives the event to the relay; false when there is no such post.
async fn change_one(
    mongo: &Mongo,
    which: Document,
    change: Document,
    event: Pending,
) -> Result<bool, StoreError> {
    let (posts, to) = (mongo.collection(POSTS), mongo.clone());
    let write = async move {
        let done = posts.update_one(which, change).await.map_err(failed);
        let done = done.inspect_err(|error| to.answer_lost(std::slice::from_ref(&event), error))?;
        let changed = done.matched_count == 1;
        if changed {
            to.hand_over(vec![event]);
        }
        Ok(changed)
    };
    mongo.to_its_end(write).await
}

/// Matches the post, if it still has that version.
fn version_of(id: Uuid, version: i64) -> Document {
    doc! {"_id": id.to_string(), "version": version, "deleted": false}
}

/// Matches the posts of a list.
fn standing(filter: &Filter) -> Document {
    let mut wanted = doc! {"deleted": false};
    if let Some(user_id) = filter.user_id {
        wanted.insert("user_id", user_id);
    }
    if let Some(tag) = &filter.tag {
        wanted.insert("tags", tag.as_str());
    }
    wanted
}

/// The fields of a post that are shown: not its events, which may be many.
fn shown() -> Document {
    doc! {"pending": 0, "request": 0, "refused": 0}
}

/// The post with its author's current name; `None` when the account was closed.
pub(super) fn named(names: &authors::Names, shown: Shown) -> Option<Post> {
    match names.get(&shown.user_id) {
        Some(Known::Closed) => None,
        Some(Known::Name(name)) => Some(shown.by(name.clone())),
        Some(Known::Nothing) | None => {
            let name = shown.username.clone();
            Some(shown.by(name))
        }
    }
}

/// The error for a value that BSON can't hold.
pub(super) fn unwritable(error: mongodb::bson::ser::Error) -> StoreError {
    StoreError::Rejected(Box::new(error))
}
