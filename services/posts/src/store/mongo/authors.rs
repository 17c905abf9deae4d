//! Authors: names and closed accounts, from `user.events`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use blocks::consumer::HandlerError;
use blocks::context;
use events::users::AccountChange;
use events::{Context, Envelope};
use mongodb::bson::{Document, doc, to_document};
use sql::StoreError;
use tokio::time::Instant;

use super::consumer::Handler;
use super::document::{AuthorDoc, all, date, read};
use super::error::{failed, is_duplicate};
use super::names::Known;
use super::posts::unwritable;
use super::{AUTHORS, Mongo, closing};
use crate::domain::Author;
use crate::removal::{PAGE, Removal};

/// The known state of some accounts.
pub(super) type Names = BTreeMap<i64, Known>;

/// Follows `user.events`. Each change names the version of its event, so making it again changes
/// nothing.
pub struct Accounts {
    mongo: Mongo,
    removal: Arc<Removal>,
}

impl Accounts {
    /// Keeps authors in `mongo`; `removal` deletes posts beyond the first page.
    pub fn new(mongo: Mongo, removal: Arc<Removal>) -> Self {
        Self { mongo, removal }
    }
}

/// A change of an author.
pub enum Change {
    /// The account has a new name.
    Rename {
        /// The account and its name.
        author: Author,
        version: i64,
    },
    /// The account was closed.
    Close {
        user_id: i64,
        version: i64,
        /// The context of the deleted posts' events.
        context: Context,
    },
}

impl Change {
    fn rename(user_id: i64, name: String, version: i64) -> Self {
        let author = Author { id: user_id, name };
        Self::Rename { author, version }
    }

    fn user_id(&self) -> i64 {
        match self {
            Self::Rename { author, .. } => author.id,
            Self::Close { user_id, .. } => *user_id,
        }
    }
}

#[async_trait]
impl Handler for Accounts {
    type Effect = Change;

    async fn decide(&self, event: &Envelope) -> Result<Option<Change>, HandlerError> {
        let version = event.sequence;
        Ok(AccountChange::of(event)?.map(|change| match change {
            AccountChange::Named { user_id, username } => {
                Change::rename(user_id, username, version)
            }
            AccountChange::Closed { user_id } => Change::Close {
                user_id,
                version,
                context: context::for_events(),
            },
        }))
    }

    async fn write(&self, changes: &[Change]) -> Result<(), StoreError> {
        // Only the last change of each account counts; nothing follows a closing.
        let mut last: BTreeMap<i64, &Change> = BTreeMap::new();
        for change in changes {
            let kept = last.entry(change.user_id()).or_insert(change);
            if !matches!(kept, Change::Close { .. }) {
                *kept = change;
            }
        }
        for change in last.into_values() {
            match change {
                Change::Rename { author, version } => rename(&self.mongo, author, *version).await?,
                Change::Close {
                    user_id,
                    version,
                    context,
                } => {
                    closing::close(&self.mongo, *user_id, *version).await?;
                    closing::delete_posts(&self.mongo, *user_id, PAGE, context).await?;
                    self.removal.go_on();
                }
            }
        }
        Ok(())
    }

    /// Keeps all names until the log brings newer ones, since the log forgets after a week.
    async fn reset(&self, _: &[String]) -> Result<(), StoreError> {
        let authors = self.mongo.collection(AUTHORS);
        let reset = authors.update_many(doc! {"closed": false}, doc! {"$set": {"version": 0_i64}});
        reset.await.map_err(failed)?;
        Ok(())
    }
}

/// The state of an account and the time of its reading; from memory if that is fresh.
pub(super) async fn known(mongo: &Mongo, user_id: i64) -> Result<(Known, Instant), StoreError> {
    if let Some(known) = mongo.names().get(user_id) {
        return Ok(known);
    }
    let since = Instant::now();
    let found = mongo.collection(AUTHORS).find_one(by_id(user_id)).await;
    let found = found.map_err(failed)?;
    let author: Option<AuthorDoc> = found.and_then(|found| read(mongo, AUTHORS, found));
    let version = author.as_ref().map_or(0, |author| author.version);
    let known = author.map_or(Known::Nothing, AuthorDoc::known);
    mongo.names().learn(user_id, known.clone(), version, since);
    Ok((known, since))
}

/// The names of `users`, as they are in the database.
pub(super) async fn names(mongo: &Mongo, users: BTreeSet<i64>) -> Result<Names, StoreError> {
    if users.is_empty() {
        return Ok(Names::new());
    }
    let ids: Vec<String> = users.iter().map(ToString::to_string).collect();
    // Some servers are quick only if they look up a single id.
    let wanted = if let [id] = ids.as_slice() {
        doc! {"_id": id}
    } else {
        doc! {"_id": {"$in": ids}}
    };
    let found = mongo.collection(AUTHORS).find(wanted).await;
    let authors = all::<AuthorDoc>(mongo, AUTHORS, found).await?.into_iter();
    Ok(authors
        .map(|author| (author.user_id, author.known()))
        .collect())
}

impl AuthorDoc {
    fn known(self) -> Known {
        if self.closed {
            Known::Closed
        } else {
            Known::Name(self.username)
        }
    }
}

/// Sets a name from the account's event `version`. An event older than the last one changes
/// nothing, nor does any event of a closed account.
async fn rename(mongo: &Mongo, author: &Author, version: i64) -> Result<(), StoreError> {
    let change = doc! {"$set": {"username": &author.name, "version": version}};
    let document = AuthorDoc {
        id: author.id.to_string(),
        user_id: author.id,
        username: author.name.clone(),
        version,
        closed: false,
    };
    let document = to_document(&document).map_err(unwritable)?;
    let since = Instant::now();
    let newer = doc! {"version": {"$lt": version}, "closed": false};
    if upsert(mongo, author.id, newer, change, document).await? {
        let known = Known::Name(author.name.clone());
        mongo.names().learn(author.id, known, version, since);
    }
    Ok(())
}

/// Changes an author if `condition` holds, or inserts `document` if the author is unknown; false if
/// neither.
pub(super) async fn upsert(
    mongo: &Mongo,
    user_id: i64,
    condition: Document,
    change: Document,
    document: Document,
) -> Result<bool, StoreError> {
    let authors = mongo.collection(AUTHORS);
    let mut wanted = by_id(user_id);
    wanted.extend(condition);
    // Twice, since somebody else's insert may be quicker.
    for _ in 0..2 {
        let updated = authors.update_one(wanted.clone(), change.clone()).await;
        if updated.map_err(failed)?.matched_count == 1 {
            return Ok(true);
        }
        match authors.insert_one(&document).await {
            Ok(_) => return Ok(true),
            Err(error) if is_duplicate(&error) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(false)
}

pub(super) fn by_id(user_id: i64) -> Document {
    doc! {"_id": user_id.to_string()}
}

/// The document of a closed account.
pub(super) fn closed(mongo: &Mongo, user_id: i64, version: i64) -> Document {
    doc! {
        "_id": user_id.to_string(), "user_id": user_id, "username": "", "version": version,
        "closed": true, "closed_at": date(mongo.settings().clock.now()), "has_posts": true,
    }
}
