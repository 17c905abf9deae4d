//! New posts, written together when they come together.
//!
//! A server takes many documents in one insert for little more than it takes for one, with one wait for
//! its journal. So a few inserts are under way at a time, and what comes meanwhile goes with the next
//! one. Where nobody else writes a post goes at once, alone.

use std::collections::VecDeque;

use blocks::error::BoxError;
use mongodb::bson::Document;
use mongodb::error::{Error, ErrorKind};
use tokio::sync::oneshot;

use super::{Mongo, POSTS, lock};

/// Inserts under way at a time: enough for a server that works on several.
const UNDER_WAY: usize = 4;
/// Posts in one insert; the largest ones that there can be make some 16 MB.
const TOGETHER: usize = 64;

/// What waits to be written.
#[derive(Default)]
pub(super) struct Inserts {
    waiting: VecDeque<(Document, oneshot::Sender<Done>)>,
    under_way: usize,
}

/// What became of a document.
enum Done {
    /// It is written.
    Inserted,
    /// It is not: the server refused it and took others. Alone it is told why.
    Refused,
    /// What became of the whole insert.
    Failed(Error),
}

impl Mongo {
    /// Writes a new post's document. It may be written although whoever asked stopped waiting.
    pub(super) async fn insert(&self, document: &Document) -> Result<(), Error> {
        let (sender, done) = oneshot::channel();
        let begins = {
            let mut inserts = lock(&self.inner.inserts);
            inserts.waiting.push_back((document.clone(), sender));
            let begins = inserts.under_way < UNDER_WAY;
            inserts.under_way += usize::from(begins);
            begins
        };
        if begins {
            self.inner.writing.spawn(self.clone().insert_waiting());
        }
        match done.await {
            Ok(Done::Inserted) => Ok(()),
            Ok(Done::Failed(error)) => Err(error),
            Ok(Done::Refused) => {
                let alone = self.collection(POSTS).insert_one(document).await;
                alone.map(|_| ())
            }
            Err(_) => {
                let why: BoxError = "the process is stopping".into();
                Err(Error::custom(why))
            }
        }
    }

    /// Writes what waits until nothing does.
    async fn insert_waiting(self) {
        while let Some((documents, senders)) = self.next_insert() {
            let posts = self.collection(POSTS);
            let done = match &*documents {
                [document] => posts.insert_one(document).await.map(|_| ()),
                // In no order: one that is refused keeps none behind it.
                all => posts.insert_many(all).ordered(false).await.map(|_| ()),
            };
            for (at, sender) in senders.into_iter().enumerate() {
                // Who stopped waiting is not told.
                drop(sender.send(of_document(&done, at)));
            }
        }
    }

    fn next_insert(&self) -> Option<(Vec<Document>, Vec<oneshot::Sender<Done>>)> {
        let mut inserts = lock(&self.inner.inserts);
        if inserts.waiting.is_empty() {
            inserts.under_way -= 1;
            return None;
        }
        let count = inserts.waiting.len().min(TOGETHER);
        Some(inserts.waiting.drain(..count).unzip())
    }
}

/// What an insert came to for the document at `at`.
fn of_document(done: &Result<(), Error>, at: usize) -> Done {
    let Err(error) = done else {
        return Done::Inserted;
    };
    match &*error.kind {
        ErrorKind::InsertMany(refused) if refused.write_concern_error.is_none() => {
            let mut refused = refused.write_errors.iter().flatten();
            if refused.any(|refused| refused.index == at) {
                Done::Refused
            } else {
                Done::Inserted
            }
        }
        _ => Done::Failed(error.clone()),
    }
}
