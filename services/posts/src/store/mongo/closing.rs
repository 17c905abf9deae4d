//! Closes an account: its name, its posts and its keys go, document by document.
//!
//! First the author's document is marked as closed, with posts that may be left (`has_posts`). Then
//! the posts are deleted, each with its event. If this process is just inserting a post, it sees the
//! closing afterwards and takes the post back. Another process may use the name from memory for
//! [`super::names::LASTS`]. Its posts are found when the account is polled again, [`SETTLED_AFTER`]
//! the closing. Then the answer is written that the account is erased. Only after that `has_posts` goes: it
//! shows that work is left after a crash in between. Then the answer may come twice, which is harmless.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use events::Context;
use events::users::UserErased;
use mongodb::bson::{self, doc};
use serde::Deserialize;
use sql::StoreError;
use tokio::time::Instant;
use uuid::Uuid;

use super::document::{all, time};
use super::error::failed;
use super::events::enclose;
use super::names::Known;
use super::posts::bury;
use super::{AUTHORS, Mongo, POSTS, authors};
use crate::domain;
use crate::removal::{ClosedAccounts, Removed};

/// After this time, no process that missed the closing is still writing, whatever its clock says.
const SETTLED_AFTER: TimeDelta = TimeDelta::seconds(15);
/// Poll interval for unsettled accounts.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Poll interval for accounts left by a process that died while closing them.
const LOOK_ANYWAY: Duration = Duration::from_mins(1);

/// The mark of a tombstone whose post was deleted with its account.
const WITH_ACCOUNT: &str = "with_account";

/// A post to be deleted.
#[derive(Deserialize)]
struct Standing {
    #[serde(rename = "_id")]
    id: Uuid,
    version: i64,
}

/// A closed account that may have posts left.
#[derive(Deserialize)]
struct Unsettled {
    user_id: i64,
    closed_at: bson::DateTime,
}

/// Closes an account, so that nothing more is published under it. Its keys go with its posts.
pub(super) async fn close(mongo: &Mongo, user_id: i64, version: i64) -> Result<(), StoreError> {
    let document = authors::closed(mongo, user_id, version);
    let mut change = document.clone();
    change.remove("_id");
    let open = doc! {"closed": false};
    authors::upsert(mongo, user_id, open, doc! {"$set": change}, document).await?;
    // Before the search for posts: later inserts see it.
    let names = mongo.names();
    names.learn(user_id, Known::Closed, version, Instant::now());
    Ok(())
}

/// Deletes up to `limit` posts of an account, each with its event, and returns their ids.
pub(super) async fn delete_posts(
    mongo: &Mongo,
    user_id: i64,
    limit: i64,
    context: &Context,
) -> Result<Vec<Uuid>, StoreError> {
    let posts = mongo.collection(POSTS);
    let found = posts
        .find(doc! {"user_id": user_id, "deleted": false})
        .sort(doc! {"created_at": -1, "_id": -1})
        .limit(limit)
        .projection(doc! {"version": 1})
        .await;
    let mut deleted = Vec::new();
    for Standing { id, version } in all(mongo, POSTS, found).await? {
        let event = domain::deleted(id, user_id);
        let marks = doc! {WITH_ACCOUNT: true};
        if bury(mongo, (id, version), &event, context.clone(), marks).await? {
            deleted.push(id);
        }
    }
    // Removes the names and idempotency keys in them.
    posts
        .update_many(
            doc! {"user_id": user_id, "deleted": true, "request.id": {"$gt": ""}},
            doc! {"$unset": {"request": ""}},
        )
        .await
        .map_err(failed)?;
    Ok(deleted)
}

/// Answers that nothing is left of an account.
async fn settle(mongo: &Mongo, account: &Unsettled) -> Result<(), StoreError> {
    let user_id = account.user_id;
    let deleted = doc! {"user_id": user_id, "deleted": true, WITH_ACCOUNT: true};
    let records = mongo.collection(POSTS).count_documents(deleted).await;
    let answer = UserErased {
        user_id,
        service: mongo.settings().service.to_owned(),
        records: records.map_err(failed)?,
    };
    let now = mongo.settings().clock.now();
    let (document, pending) = enclose(mongo, &answer, 1, Context::default(), now)?;
    mongo.enqueue(vec![document]).await?;
    // Matched by time, since a restored database may hold another closing.
    let settled = doc! {"_id": user_id.to_string(), "closed_at": account.closed_at};
    let authors = mongo.collection(AUTHORS);
    let settle = authors.update_one(settled, doc! {"$unset": {"has_posts": ""}});
    settle.await.map_err(failed)?;
    mongo.hand_over(vec![pending]);
    Ok(())
}

#[async_trait]
impl ClosedAccounts for Mongo {
    async fn remove_some(&self, limit: i64) -> Result<Removed, StoreError> {
        let authors = self.collection(AUTHORS);
        let found = authors.find(doc! {"has_posts": true}).await;
        let mut later = false;
        for account in all::<Unsettled>(self, AUTHORS, found).await? {
            let user_id = account.user_id;
            let now: DateTime<Utc> = self.settings().clock.now();
            let removed = delete_posts(self, user_id, limit, &Context::default()).await?;
            if !removed.is_empty() {
                return Ok(Removed::Posts(removed));
            }
            if time(account.closed_at) > now - SETTLED_AFTER {
                later = true;
                continue;
            }
            settle(self, &account).await?;
        }
        Ok(Removed::NothingYet(if later {
            LOOK_AGAIN
        } else {
            LOOK_ANYWAY
        }))
    }
}
