//! Posts in memory: the adapter of their port for tests that need no database.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use blocks::consumer::HandlerError;
use blocks::extract::{COUNTED_ROWS, KeyedRequest, Keyset, Span};
use events::posts::{PostDeleted, PostUpdated};
use events::users::{AccountChange, UserErased};
use events::{Envelope, topic};
use posts::domain::{Author, Draft, Limits, Post, deleted};
use posts::error::PostError;
use posts::removal::{ClosedAccounts, PAGE, Removal, Removed};
use posts::store::{Filter, PostStore};
use posts::{NAME, Parts, Posts};
use sql::StoreError;
use sql::accounts::Closed;
use testkit::memory::{Handler, Memory, MemoryConsumer, Tx};
use uuid::Uuid;

/// All that posts keep.
#[derive(Clone, Default)]
pub struct State {
    pub posts: BTreeMap<Uuid, Post>,
    /// The versions of deleted posts.
    pub deleted: BTreeMap<Uuid, i64>,
    accounts: BTreeMap<i64, Account>,
}

#[derive(Clone, Default)]
struct Account {
    name: String,
    /// Of the event that told it; 0 before the first.
    version: i64,
    is_closed: bool,
    /// How many of its posts are deleted, while it is not answered that all are.
    erased: Option<u64>,
}

impl State {
    /// The post under its author's current name.
    fn shown(&self, post: &Post) -> Post {
        let mut post = post.clone();
        if let Some(account) = self.accounts.get(&post.author.id) {
            post.author.name.clone_from(&account.name);
        }
        post
    }

    /// The posts that `filter` takes, newest first.
    fn newest(&self, filter: &Filter) -> Vec<&Post> {
        let wanted = self.posts.values().filter(|post| {
            let by_author = filter
                .user_id
                .is_none_or(|user_id| post.author.id == user_id);
            let by_tag = filter
                .tag
                .as_ref()
                .is_none_or(|tag| post.tags.contains(tag));
            by_author && by_tag
        });
        let mut wanted: Vec<&Post> = wanted.collect();
        wanted.sort_by_key(|post| std::cmp::Reverse(place(post)));
        wanted
    }
}

fn place(post: &Post) -> Keyset {
    Keyset::new(post.created_at, post.id)
}

/// Posts in a [`Memory`].
pub struct MemoryPosts(pub Memory<State>);

/// The service's state over `memory`.
pub fn open(memory: &Memory<State>, limits: Limits) -> Posts {
    let removal = Arc::new(Removal::new(Arc::new(MemoryPosts(memory.clone()))));
    let accounts = Accounts(Arc::clone(&removal));
    let parts = Parts {
        store: Arc::new(MemoryPosts(memory.clone())),
        removal,
        consumer: MemoryConsumer::new(memory.clone(), NAME, &[topic::USERS], accounts).consumer(),
        outbox: Arc::new(memory.clone()),
        check: Arc::new(memory.clone()),
    };
    Posts::over(parts, Arc::clone(memory.clock()), limits)
}

#[async_trait]
impl PostStore for MemoryPosts {
    async fn create(
        &self,
        draft: Draft,
        author: Author,
        request: Option<KeyedRequest>,
    ) -> Result<Post, PostError> {
        let user_id = author.id;
        let published = self.0.write::<_, PostError>(|tx| {
            let asked = draft.clone();
            tx.once(("posts.create", user_id), request, |tx| {
                let account = tx.accounts.entry(user_id).or_insert_with(|| Account {
                    name: author.name,
                    ..Account::default()
                });
                if account.is_closed {
                    return Err(Closed.into());
                }
                let name = account.name.clone();
                let author = Author {
                    id: user_id,
                    name: name.clone(),
                };
                let (post, event) = asked.publish(tx.id(), author, tx.now());
                tx.publish(&event, post.version)?;
                let published = (post.id, name, post.created_at);
                tx.posts.insert(post.id, post);
                Ok(published)
            })
        });
        let (id, name, created_at) = published.await?;
        Ok(draft
            .publish(id, Author { id: user_id, name }, created_at)
            .0)
    }

    async fn update(&self, post: &Post, event: &PostUpdated) -> Result<bool, StoreError> {
        let write = self.0.write(|tx| {
            let last = tx.posts.get(&post.id).map(|post| post.version);
            if last != Some(post.version - 1) {
                return Ok(false);
            }
            tx.posts.insert(post.id, post.clone());
            tx.publish(event, post.version)?;
            Ok(true)
        });
        write.await
    }

    async fn delete(&self, post: &Post, event: &PostDeleted) -> Result<bool, StoreError> {
        let write = self.0.write(|tx| {
            let last = tx.posts.get(&post.id).map(|post| post.version);
            if last != Some(post.version) {
                return Ok(false);
            }
            remove(tx, event, post.version)?;
            Ok(true)
        });
        write.await
    }

    async fn get(&self, id: Uuid) -> Result<Option<Post>, StoreError> {
        let found = |state: &State| state.posts.get(&id).map(|post| state.shown(post));
        self.0.read(found).await
    }

    async fn newest(&self, filter: &Filter, of: Span) -> Result<Vec<Post>, StoreError> {
        let rows = |count: i64| usize::try_from(count).unwrap_or_default();
        let found = self.0.read(|state| {
            let newest = state.newest(filter).into_iter();
            let page = newest.filter(|post| place(post) < of.after);
            let page = page.skip(rows(of.skip)).take(rows(of.limit));
            page.map(|post| state.shown(post)).collect()
        });
        found.await
    }

    async fn count(&self, filter: &Filter) -> Result<i64, StoreError> {
        let count = self.0.read(|state| state.newest(filter).len()).await?;
        Ok(i64::try_from(count).map_or(COUNTED_ROWS, |count| count.min(COUNTED_ROWS)))
    }
}

/// Leaves a tombstone of a post whose last version is `version`.
fn remove(tx: &mut Tx<State>, event: &PostDeleted, version: i64) -> Result<(), StoreError> {
    tx.posts.remove(&event.post_id);
    tx.deleted.insert(event.post_id, version + 1);
    tx.publish(event, version + 1)
}

/// Deletes up to `limit` posts of a closed account, the newest first. Fewer are the last ones: then it answers.
fn remove_some(tx: &mut Tx<State>, user_id: i64, limit: i64) -> Result<Vec<Uuid>, StoreError> {
    let of_account = Filter {
        user_id: Some(user_id),
        tag: None,
    };
    let limit = usize::try_from(limit).unwrap_or_default();
    let newest = tx.newest(&of_account).into_iter().take(limit);
    let gone: Vec<(Uuid, i64)> = newest.map(|post| (post.id, post.version)).collect();
    for (id, version) in &gone {
        remove(tx, &deleted(*id, user_id), *version)?;
    }
    let account = tx.accounts.entry(user_id).or_default();
    let counted = account.erased.unwrap_or_default() + gone.len() as u64;
    account.erased = (gone.len() == limit).then_some(counted);
    if account.erased.is_none() {
        let answer = UserErased {
            user_id,
            service: NAME.to_owned(),
            records: counted,
        };
        tx.publish(&answer, 1)?;
    }
    Ok(gone.into_iter().map(|(id, _)| id).collect())
}

#[async_trait]
impl ClosedAccounts for MemoryPosts {
    async fn remove_some(&self, limit: i64) -> Result<Removed, StoreError> {
        let write = self.0.write(|tx| {
            let mut due = tx.accounts.iter().filter(|(_, of)| of.erased.is_some());
            let Some(user_id) = due.next().map(|(user_id, _)| *user_id) else {
                return Ok(Removed::Nothing);
            };
            Ok(Removed::Posts(remove_some(tx, user_id, limit)?))
        });
        write.await
    }
}

/// Follows the accounts that write.
struct Accounts(Arc<Removal>);

impl Handler<State> for Accounts {
    fn handle(&self, tx: &mut Tx<State>, event: &Envelope) -> Result<(), HandlerError> {
        match AccountChange::of(event)? {
            Some(AccountChange::Named { user_id, username }) => {
                let account = tx.accounts.entry(user_id).or_default();
                if account.version < event.sequence && !account.is_closed {
                    account.name = username;
                    account.version = event.sequence;
                }
            }
            Some(AccountChange::Closed { user_id }) => {
                if tx.accounts.get(&user_id).is_some_and(|of| of.is_closed) {
                    return Ok(());
                }
                let closed = Account {
                    name: String::new(),
                    version: event.sequence,
                    is_closed: true,
                    erased: None,
                };
                tx.accounts.insert(user_id, closed);
                tx.forget_keys(user_id);
                let gone = remove_some(tx, user_id, PAGE)?;
                if i64::try_from(gone.len()).is_ok_and(|gone| gone == PAGE) {
                    let removal = Arc::clone(&self.0);
                    tx.after_commit(move || removal.go_on());
                }
            }
            None => {}
        }
        Ok(())
    }

    fn reset(&self, tx: &mut Tx<State>, _: &[String]) {
        for account in tx
            .accounts
            .values_mut()
            .filter(|account| !account.is_closed)
        {
            account.version = 0;
        }
    }
}
