//! Moving rows from one store to another, so that it can be broken off anywhere and done again.
//!
//! Both sides give their rows in the order of their keys, each in one canonical text. A walk over both
//! at once tells what is missing on the other side, and what is there that did not come from here: then
//! nothing is written. Rows are never all in memory.
//!
//! ```text
//! compare ─ nothing there that is not here? ─▶ copy ─ what is missing, in batches ─▶ compare: all equal
//! ```

use std::cmp::Ordering;
use std::fmt;

use async_trait::async_trait;
use ring::digest::{Context, SHA256};
use tokio::sync::mpsc::{self, Receiver, Sender};
use uuid::Uuid;

use crate::error::BoxError;

/// Rows that are on their way from a side to the walk.
const AHEAD: usize = 32;
/// A batch has no more rows …
const BATCH_ROWS: usize = 500;
/// … and not many more bytes.
const BATCH_BYTES: usize = 1024 * 1024;

/// A part of a key: numbers by size, texts byte by byte.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A number.
    Number(i64),
    /// A text.
    Text(String),
    /// A UUID.
    Id(Uuid),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
            Self::Id(id) => id.fmt(f),
        }
    }
}

/// A row as both sides write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Which one.
    pub key: Vec<Key>,
    /// All of it, in the one form that both sides give it.
    pub text: String,
    /// What is needed to write it and is not compared.
    pub beside: i64,
}

impl Row {
    /// A row with all that counts in `text`.
    pub fn new(key: impl Into<Vec<Key>>, text: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            text: text.into(),
            beside: 0,
        }
    }

    fn named(&self) -> String {
        let key: Vec<String> = self.key.iter().map(Key::to_string).collect();
        key.join("/")
    }
}

/// Takes the rows that a side reads, and `None` behind the last one: a side that breaks off must not
/// look like one that ended.
#[derive(Debug)]
pub struct Rows(Sender<Option<Row>>);

impl Rows {
    /// Gives the next row; false when nobody wants more.
    pub async fn give(&self, row: Row) -> bool {
        self.0.send(Some(row)).await.is_ok()
    }
}

/// Where rows are.
#[async_trait]
pub trait Side: Send + Sync {
    /// Gives all rows in the ascending order of their keys, until nobody wants more.
    ///
    /// # Errors
    /// When the store can't be read, or has something that is no row.
    async fn read(&self, rows: &Rows) -> Result<(), BoxError>;
}

/// Where rows go.
#[async_trait]
pub trait Target: Side {
    /// Writes rows that are missing, in their order.
    ///
    /// # Errors
    /// When the store refuses or can't be reached. Any part of them may be written.
    async fn insert(&self, rows: Vec<Row>) -> Result<(), BoxError>;
}

/// A side with nothing on it.
#[derive(Debug, Clone, Copy)]
pub struct Nothing;

#[async_trait]
impl Side for Nothing {
    async fn read(&self, _: &Rows) -> Result<(), BoxError> {
        Ok(())
    }
}

/// What moves as one: a table, a collection, a topic.
pub struct Part {
    /// What it is called.
    pub name: String,
    /// Where it is.
    pub source: Box<dyn Side>,
    /// Where it goes.
    pub target: Box<dyn Target>,
}

/// Why a part can't be moved.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The target is used by somebody else, or was.
    #[error("{part}: {key} is there and did not come from here")]
    Foreign {
        /// Of which part.
        part: String,
        /// Which row.
        key: String,
    },
    /// The target's row is another one.
    #[error("{part}: {key} is there and is not what it is here")]
    Differs {
        /// Of which part.
        part: String,
        /// Which row.
        key: String,
    },
    /// A side that can't be compared.
    #[error("{part}: {key} is out of order {side}")]
    Order {
        /// Of which part.
        part: String,
        /// Which row.
        key: String,
        /// On which side.
        side: &'static str,
    },
    /// A side that can't be read.
    #[error("{part}: could not read {side}")]
    Read {
        /// Of which part.
        part: String,
        /// Which side.
        side: &'static str,
        /// Why.
        #[source]
        cause: BoxError,
    },
    /// A target that can't be written.
    #[error("{part}: could not write")]
    Write {
        /// Of which part.
        part: String,
        /// Why.
        #[source]
        cause: BoxError,
    },
}

/// What a walk over both sides found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compared {
    /// Rows here.
    pub here: u64,
    /// Rows there.
    pub there: u64,
    /// Of all rows here, in their order.
    pub here_hash: [u8; 32],
    /// Of all rows there.
    pub there_hash: [u8; 32],
}

impl Compared {
    /// Whether all that is here is there, and nothing else.
    pub fn is_equal(&self) -> bool {
        self.here == self.there && self.here_hash == self.there_hash
    }

    /// How many rows are still to go.
    pub fn missing(&self) -> u64 {
        self.here.saturating_sub(self.there)
    }
}

impl Part {
    /// Walks over both sides; `seen` is told of each row here.
    ///
    /// # Errors
    /// When the target has what is not here, or a side can't be read.
    pub async fn compare(&self, seen: &(dyn Fn() + Sync)) -> Result<Compared, MigrateError> {
        self.walk(seen, None).await
    }

    /// Writes what is missing; `written` is told of each row. Answers how many there were.
    ///
    /// # Errors
    /// As [`Part::compare`], and when the target does not take a row.
    pub async fn copy(&self, written: &(dyn Fn() + Sync)) -> Result<u64, MigrateError> {
        let compared = self.walk(&|| {}, Some(written)).await?;
        Ok(compared.missing())
    }

    async fn walk(
        &self,
        seen: &(dyn Fn() + Sync),
        copies: Option<&(dyn Fn() + Sync)>,
    ) -> Result<Compared, MigrateError> {
        let (here_out, here) = mpsc::channel(AHEAD);
        let (there_out, there) = mpsc::channel(AHEAD);
        let read = async |side: &dyn Side, rows: Sender<Option<Row>>, name| {
            let rows = Rows(rows);
            let done = side.read(&rows).await;
            done.map_err(|cause| MigrateError::Read {
                part: self.name.clone(),
                side: name,
                cause,
            })?;
            // Nobody listens any more where the other side had an error.
            drop(rows.0.send(None).await);
            Ok(())
        };
        let mut walk = Walk {
            part: self,
            here: Reading::new(here, HERE),
            there: Reading::new(there, THERE),
            batch: Vec::new(),
            bytes: 0,
            copies,
        };
        let (here_read, there_read, walked) = tokio::join!(
            read(&*self.source, here_out, HERE),
            read(&*self.target, there_out, THERE),
            walk.run(seen),
        );
        // Before what the walk makes of a side that broke off.
        here_read?;
        there_read?;
        walked?;
        walk.flush().await?;
        Ok(Compared {
            here: walk.here.count,
            there: walk.there.count,
            here_hash: walk.here.hash(),
            there_hash: walk.there.hash(),
        })
    }
}

const HERE: &str = "here";
const THERE: &str = "there";

/// A side as it is read.
struct Reading {
    rows: Receiver<Option<Row>>,
    name: &'static str,
    last: Option<Vec<Key>>,
    count: u64,
    digest: Context,
}

impl Reading {
    fn new(rows: Receiver<Option<Row>>, name: &'static str) -> Self {
        Self {
            rows,
            name,
            last: None,
            count: 0,
            digest: Context::new(&SHA256),
        }
    }

    async fn next(&mut self, part: &str) -> Result<Option<Row>, MigrateError> {
        let row = self.rows.recv().await.ok_or_else(|| MigrateError::Read {
            part: part.to_owned(),
            side: self.name,
            cause: "it broke off".into(),
        })?;
        let Some(row) = row else {
            return Ok(None);
        };
        if self.last.as_ref().is_some_and(|last| *last >= row.key) {
            return Err(MigrateError::Order {
                part: part.to_owned(),
                key: row.named(),
                side: self.name,
            });
        }
        self.last = Some(row.key.clone());
        self.count += 1;
        for text in [&row.named(), &row.text] {
            self.digest.update(&text.len().to_le_bytes());
            self.digest.update(text.as_bytes());
        }
        Ok(Some(row))
    }

    fn hash(&self) -> [u8; 32] {
        let digest = self.digest.clone().finish();
        let mut hash = [0; 32];
        hash.copy_from_slice(digest.as_ref());
        hash
    }
}

struct Walk<'a> {
    part: &'a Part,
    here: Reading,
    there: Reading,
    batch: Vec<Row>,
    bytes: usize,
    copies: Option<&'a (dyn Fn() + Sync)>,
}

impl Walk<'_> {
    async fn run(&mut self, seen: &(dyn Fn() + Sync)) -> Result<(), MigrateError> {
        let walked = self.both(seen).await;
        // Whoever still reads is told that nobody wants more.
        self.here.rows.close();
        self.there.rows.close();
        walked
    }

    async fn both(&mut self, seen: &(dyn Fn() + Sync)) -> Result<(), MigrateError> {
        let part = self.part.name.as_str();
        let mut there = self.there.next(part).await?;
        while let Some(row) = self.here.next(part).await? {
            let order = there
                .as_ref()
                .map_or(Ordering::Greater, |there| there.key.cmp(&row.key));
            match (order, &there) {
                (Ordering::Less, Some(foreign)) => return Err(self.foreign(foreign)),
                (Ordering::Equal, Some(same)) if same.text == row.text => {
                    there = self.there.next(part).await?;
                }
                (Ordering::Equal, Some(other)) => {
                    return Err(MigrateError::Differs {
                        part: part.to_owned(),
                        key: other.named(),
                    });
                }
                _ => self.missing(row).await?,
            }
            seen();
        }
        there.map_or(Ok(()), |foreign| Err(self.foreign(&foreign)))
    }

    fn foreign(&self, row: &Row) -> MigrateError {
        MigrateError::Foreign {
            part: self.part.name.clone(),
            key: row.named(),
        }
    }

    async fn missing(&mut self, row: Row) -> Result<(), MigrateError> {
        if self.copies.is_none() {
            return Ok(());
        }
        self.bytes += row.text.len();
        self.batch.push(row);
        if self.batch.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), MigrateError> {
        let rows = std::mem::take(&mut self.batch);
        self.bytes = 0;
        if rows.is_empty() {
            return Ok(());
        }
        let count = rows.len();
        let inserted = self.part.target.insert(rows).await;
        inserted.map_err(|cause| MigrateError::Write {
            part: self.part.name.clone(),
            cause,
        })?;
        if let Some(written) = self.copies {
            (0..count).for_each(|_| written());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
