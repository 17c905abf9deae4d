//! Inserts new posts in groups when many come at once.
//!
//! One insert of many documents costs a server little more than one of a single document, and waits for
//! the journal once. So only a few inserts are under way at a time; posts that come meanwhile go with
//! the next one. A post that comes alone goes at once.

use std::collections::VecDeque;

use blocks::outbox::Pending;
use mongodb::bson::Document;
use mongodb::error::{Error, ErrorKind};
use tokio::sync::oneshot;

use super::error::failed;
use super::{Mongo, POSTS, stopping};

/// Inserts under way at a time: enough for a server that works on several.
const UNDER_WAY: usize = 4;
/// Most posts in one insert: some 16 MB if all are as large as can be.
const TOGETHER: usize = 64;

/// Posts that wait for the next insert.
#[derive(Default)]
pub(super) struct Inserts {
    waiting: VecDeque<Insert>,
    under_way: usize,
}

/// The outcome for a document.
enum Done {
    /// It is written.
    Inserted,
    /// The server refused it and took others.
    Refused,
    /// The whole insert failed.
    Failed(Error),
}

/// A document with its event, and the caller to answer.
struct Insert {
    document: Document,
    event: Pending,
    done: oneshot::Sender<Result<(), Error>>,
}

impl Mongo {
    /// Writes a new post's document and gives its event to the relay, even if the caller stops
    /// waiting.
    pub(super) async fn insert(&self, document: Document, event: Pending) -> Result<(), Error> {
        let (sender, done) = oneshot::channel();
        let begins = {
            let mut inserts = self.inner.inserts.lock();
            inserts.waiting.push_back(Insert {
                document,
                event,
                done: sender,
            });
            let begins = inserts.under_way < UNDER_WAY;
            inserts.under_way += usize::from(begins);
            begins
        };
        if begins {
            self.inner.writing.spawn(self.clone().insert_waiting());
        }
        done.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Writes waiting posts until none is left.
    async fn insert_waiting(self) {
        while let Some(inserts) = self.next_inserts() {
            let documents: Vec<&Document> = inserts.iter().map(|insert| &insert.document).collect();
            let posts = self.collection(POSTS);
            let all = match &*documents {
                [document] => posts.insert_one(*document).await.map(|_| ()),
                // Unordered: a refused document does not stop those behind it.
                all => {
                    let all = all.iter().copied();
                    posts.insert_many(all).ordered(false).await.map(|_| ())
                }
            };
            let (mut events, mut answers) = (Vec::new(), Vec::new());
            let (mut lost, mut reason) = (Vec::new(), None);
            for (at, insert) in inserts.into_iter().enumerate() {
                let done = match of_document(&all, at) {
                    // Inserted alone, it gets the reason.
                    Done::Refused => posts.insert_one(&insert.document).await.map(|_| ()),
                    Done::Inserted => Ok(()),
                    Done::Failed(error) => Err(error),
                };
                match &done {
                    Ok(()) => events.push(insert.event),
                    Err(error) => {
                        lost.push(insert.event);
                        reason = Some(error.clone());
                    }
                }
                answers.push((insert.done, done));
            }
            self.hand_over(events);
            if let Some(reason) = reason {
                self.answer_lost(&lost, &failed(reason));
            }
            for (asked, done) in answers {
                // The caller may have stopped waiting.
                drop(asked.send(done));
            }
        }
    }

    fn next_inserts(&self) -> Option<Vec<Insert>> {
        let mut inserts = self.inner.inserts.lock();
        if inserts.waiting.is_empty() {
            inserts.under_way -= 1;
            return None;
        }
        let count = inserts.waiting.len().min(TOGETHER);
        Some(inserts.waiting.drain(..count).collect())
    }
}

/// The outcome of an insert for the document at `at`.
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
