//! What services hold: a store with a prefix, its typed commands, and pipelines of them.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blocks::error::chain;
use bytes::Bytes;
use tokio_util::task::TaskTracker;

use crate::error::CacheError;
use crate::op::{FromReply, Op};
use crate::port::{CacheStore, Command, Reply};

/// A store, all whose keys begin with a prefix. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    port: Box<dyn CacheStore>,
    prefix: String,
    /// True after a call that failed: a change is logged once.
    failing: AtomicBool,
    /// Locks that are given back by nobody who waits for it.
    tasks: TaskTracker,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.inner;
        f.debug_struct("Store")
            .field("prefix", &inner.prefix)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// What is under `prefix` in a store.
    pub fn new(port: impl CacheStore + 'static, prefix: &str) -> Self {
        let inner = Inner {
            port: Box::new(port),
            prefix: prefix.to_owned(),
            failing: AtomicBool::new(false),
            tasks: TaskTracker::new(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Runs one command.
    ///
    /// # Errors
    /// When the store is away, or refuses the command.
    pub async fn run<R: FromReply>(&self, op: Op<R>) -> Result<R, CacheError> {
        let mut pipeline = self.pipeline();
        let slot = pipeline.add(op);
        pipeline.run().await?.take(slot)
    }

    /// Commands that go to the store together.
    pub fn pipeline(&self) -> Pipeline<'_> {
        Pipeline {
            store: self,
            commands: Vec::new(),
        }
    }

    /// The value under a key that has the prefix already.
    pub(crate) async fn get_at(&self, full_key: &str) -> Result<Option<Bytes>, CacheError> {
        self.heard(self.inner.port.get(full_key).await)
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.inner.prefix
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.inner.tasks
    }

    /// Passes an answer on, and logs when the store goes away or comes back.
    fn heard<T>(&self, answer: Result<T, CacheError>) -> Result<T, CacheError> {
        let failing = &self.inner.failing;
        match &answer {
            Err(error @ CacheError::Away(_)) => {
                if !failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(error = chain(error), "the cache's store is away");
                }
            }
            // A load first: hits of all threads share this.
            _ => {
                if failing.load(Ordering::Relaxed) && failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("the cache's store answers again");
                }
            }
        }
        answer
    }
}

/// Commands that go to the store in one round trip and run in their order. No transaction: what has to run
/// alone is a [`Script`](crate::Script).
#[derive(Debug)]
#[must_use = "a pipeline does nothing until it runs"]
pub struct Pipeline<'a> {
    store: &'a Store,
    commands: Vec<Command>,
}

/// The place of a command's answer.
#[derive(Debug)]
pub struct Slot<R> {
    place: usize,
    answer: PhantomData<fn() -> R>,
}

impl<R> Slot<R> {
    /// An answer is taken once.
    fn place(self) -> usize {
        self.place
    }
}

impl Pipeline<'_> {
    /// Adds a command; its answer is taken by what this returns.
    pub fn add<R>(&mut self, op: Op<R>) -> Slot<R> {
        let mut command = op.command;
        for key in &mut command.keys {
            key.insert_str(0, self.store.prefix());
        }
        self.commands.push(command);
        Slot {
            place: self.commands.len() - 1,
            answer: PhantomData,
        }
    }

    /// Runs them.
    ///
    /// # Errors
    /// When the store is away. Some commands may have run then.
    pub async fn run(self) -> Result<Answers, CacheError> {
        let answers = self.store.inner.port.run(self.commands).await;
        let answers = self.store.heard(answers)?;
        Ok(Answers(answers.into_iter().map(Some).collect()))
    }
}

/// The answers to a pipeline's commands.
#[derive(Debug)]
pub struct Answers(Vec<Option<Result<Reply, CacheError>>>);

impl Answers {
    /// Takes one of them.
    ///
    /// # Errors
    /// When the store refused the command, or the answer is of another type.
    pub fn take<R: FromReply>(&mut self, slot: Slot<R>) -> Result<R, CacheError> {
        let answer = self.0.get_mut(slot.place()).and_then(Option::take);
        let missing = || Err(CacheError::unexpected("of this pipeline"));
        R::from_reply(answer.unwrap_or_else(missing)?)
    }
}
