//! Closing an account: its name, its posts and its keys go, one document after the other.
//!
//! First the author's document says that it is closed and that posts may be left (`has_posts`); then
//! the posts are deleted, each with its event. Who is creating one at that moment in this process sees
//! the closing after the insert and takes it back. In another process it may not know yet, for as long
//! as a name is believed there ([`super::names::LASTS`]); such a post is found when the account is
//! looked at again, [`SETTLED_AFTER`] the closing. Only then `has_posts` goes. So a crash between any
//! two steps leaves a mark behind by which the rest is found.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use events::Context;
use events::posts::PostDeleted;
use futures::TryStreamExt;
use mongodb::bson::{self, Document, doc};
use serde::Deserialize;
use sql::StoreError;
use tokio::time::Instant;
use uuid::Uuid;

use super::document::{date, read, time};
use super::error::failed;
use super::names::Known;
use super::posts::bury;
use super::{AUTHORS, Mongo, POSTS, authors};
use crate::removal::{ClosedAccounts, Removed};

/// Nobody who did not know of the closing is still writing then, whatever its clock says.
const SETTLED_AFTER: TimeDelta = TimeDelta::seconds(15);
/// How often what is not settled is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// How often it is looked for accounts that another process closed and then died.
const LOOK_ANYWAY: Duration = Duration::from_mins(1);

/// A post to be deleted.
#[derive(Deserialize)]
struct Standing {
    #[serde(rename = "_id")]
    id: Uuid,
    version: i64,
}

/// An account that is not done with.
#[derive(Deserialize)]
struct Unsettled {
    user_id: i64,
    closed_at: bson::DateTime,
}

/// Closes an account: nothing is published under it any more. Its keys are forgotten with its posts.
pub(super) async fn close(mongo: &Mongo, user_id: i64, version: i64) -> Result<(), StoreError> {
    let document = authors::closed(mongo, user_id, version);
    let mut change = document.clone();
    change.remove("_id");
    let open = doc! {"closed": false};
    authors::upsert(mongo, user_id, open, doc! {"$set": change}, document).await?;
    // Before its posts are looked for: whoever inserts one later sees this.
    let names = mongo.names();
    names.learn(user_id, Known::Closed, version, Instant::now());
    Ok(())
}

/// Deletes up to `limit` posts of an account, each with its event, and says which.
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
        .await
        .map_err(failed)?;
    let found: Vec<Document> = found.try_collect().await.map_err(failed)?;
    let mut deleted = Vec::new();
    for post in found {
        let Some(Standing { id, version }) = read(mongo, POSTS, post) else {
            continue;
        };
        let event = PostDeleted {
            post_id: id,
            user_id,
        };
        if bury(mongo, (id, version), &event, context.clone()).await? {
            deleted.push(id);
        }
    }
    // The names in them, and what was asked for.
    posts
        .update_many(
            doc! {"user_id": user_id, "deleted": true, "request.id": {"$gt": ""}},
            doc! {"$unset": {"request": ""}},
        )
        .await
        .map_err(failed)?;
    Ok(deleted)
}

#[async_trait]
impl ClosedAccounts for Mongo {
    async fn remove_some(&self, limit: i64) -> Result<Removed, StoreError> {
        let authors = self.collection(AUTHORS);
        let found = authors.find(doc! {"has_posts": true}).await;
        let found: Vec<Document> = found.map_err(failed)?.try_collect().await.map_err(failed)?;
        let mut later = false;
        for account in found {
            let Some(account) = read::<Unsettled>(self, AUTHORS, account) else {
                continue;
            };
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
            // Named by the time: it may be another closing meanwhile, of a database brought back.
            let settled = doc! {
                "_id": user_id.to_string(), "closed_at": date(time(account.closed_at)),
            };
            let settle = authors.update_one(settled, doc! {"$unset": {"has_posts": ""}});
            settle.await.map_err(failed)?;
        }
        Ok(Removed::NothingYet(if later {
            LOOK_AGAIN
        } else {
            LOOK_ANYWAY
        }))
    }
}
