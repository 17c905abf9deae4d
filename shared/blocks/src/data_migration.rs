//! Data migration: copies rows from one store to another. It may be broken off anywhere and done again.
//!
//! Both sides give their rows in the order of their keys, each in one canonical text. A walk over both
//! finds the rows that the target lacks. If the target has rows of another origin, nothing is written.
//! Rows are never all in memory.
//!
//! ```text
//! compare ─ no foreign rows there? ─▶ copy ─ the missing rows, in batches ─▶ compare: all equal
//! ```

use std::cmp::Ordering;
use std::fmt;

use async_trait::async_trait;
use ring::digest::{Context, SHA256};
use tokio::sync::mpsc::{self, Receiver, Sender};
use uuid::Uuid;

use crate::error::BoxError;

/// Capacity of the channel from a side to the walk, in rows.
const AHEAD: usize = 32;
/// The most rows of a batch.
const BATCH_ROWS: usize = 500;
/// A batch ends with the row that reaches this size, in bytes.
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
    /// Its key, unique on its side.
    pub key: Vec<Key>,
    /// Its content, in the canonical form of both sides.
    pub text: String,
    /// A value for writing it that is not compared.
    pub beside: i64,
}

impl Row {
    /// A row with all of its content in `text`.
    pub fn new(key: impl Into<Vec<Key>>, text: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            text: text.into(),
            beside: 0,
        }
    }

    fn key_text(&self) -> String {
        let key: Vec<String> = self.key.iter().map(Key::to_string).collect();
        key.join("/")
    }

    fn named(&self, part: &str) -> String {
        format!("{part}: {}", self.key_text())
    }
}

/// Takes the rows that a side reads. `None` follows the last one: a side that breaks off must not look
/// like one that ended.
#[derive(Debug)]
pub struct Rows(Sender<Option<Row>>);

impl Rows {
    /// Gives the next row; false when the walk has ended.
    pub async fn give(&self, row: Row) -> bool {
        self.0.send(Some(row)).await.is_ok()
    }
}

/// A store that rows are read from.
#[async_trait]
pub trait Side: Send + Sync {
    /// Gives all rows in the ascending order of their keys, until the walk ends.
    ///
    /// # Errors
    /// When the store can't be read, or a row in it is malformed.
    async fn read(&self, rows: &Rows) -> Result<(), BoxError>;
}

/// A store that rows are written to.
#[async_trait]
pub trait Target: Side {
    /// Writes rows that are missing, in their order.
    ///
    /// # Errors
    /// When the store refuses them or can't be reached. Some of them may be written.
    async fn insert(&self, rows: Vec<Row>) -> Result<(), BoxError>;
}

/// A side without rows.
#[derive(Debug, Clone, Copy)]
pub struct Nothing;

#[async_trait]
impl Side for Nothing {
    async fn read(&self, _: &Rows) -> Result<(), BoxError> {
        Ok(())
    }
}

/// A unit of the migration: a table, a collection, a topic.
pub struct Part {
    /// Its name in messages.
    pub name: String,
    /// The store that has it.
    pub source: Box<dyn Side>,
    /// The store that gets it.
    pub target: Box<dyn Target>,
}

/// The reason why a part can't be migrated. Rows are named as `part: key`.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The target is used by somebody else, or was.
    #[error("{0} is there and did not come from here")]
    Foreign(String),
    /// The target's row has another text.
    #[error("{0} is there and is not what it is here")]
    Differs(String),
    /// A side's rows are not in the order of their keys.
    #[error("{0} is out of order {1}")]
    Order(String, &'static str),
    /// A part's side can't be read.
    #[error("{0}: could not read {1}")]
    Read(String, &'static str, #[source] BoxError),
    /// A part's target can't be written.
    #[error("{0}: could not write")]
    Write(String, #[source] BoxError),
}

/// The result of a walk over both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compared {
    /// Number of rows here.
    pub here: u64,
    /// Number of rows there.
    pub there: u64,
    /// SHA-256 of all rows here, in their order.
    pub here_hash: [u8; 32],
    /// SHA-256 of all rows there.
    pub there_hash: [u8; 32],
}

impl Compared {
    /// True if both sides have the same rows.
    pub fn is_equal(&self) -> bool {
        self.here == self.there && self.here_hash == self.there_hash
    }

    /// Number of rows that are missing there.
    pub fn missing(&self) -> u64 {
        self.here.saturating_sub(self.there)
    }
}

impl Part {
    /// Walks over both sides; `seen` is told of each row here.
    ///
    /// # Errors
    /// When the target has a row that is not here, or a side can't be read.
    pub async fn compare(&self, seen: &(dyn Fn() + Sync)) -> Result<Compared, MigrateError> {
        self.walk(seen, None).await
    }

    /// Writes the missing rows; `written` is told of each. Returns their number.
    ///
    /// # Errors
    /// As [`Part::compare`], and when the target refuses a row.
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
            done.map_err(|cause| MigrateError::Read(self.name.clone(), name, cause))?;
            // The walk has ended already if the other side had an error.
            drop(rows.0.send(None).await);
            Ok(())
        };
        let mut walk = Walk {
            part: self,
            here: Reading::new(here, &self.name, HERE),
            there: Reading::new(there, &self.name, THERE),
            batch: Vec::new(),
            bytes: 0,
            copies,
        };
        let (here_read, there_read, walked) = tokio::join!(
            read(&*self.source, here_out, HERE),
            read(&*self.target, there_out, THERE),
            walk.run(seen),
        );
        // Their errors are the cause of the error that the walk then has.
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
struct Reading<'a> {
    rows: Receiver<Option<Row>>,
    part: &'a str,
    name: &'static str,
    last: Option<Vec<Key>>,
    count: u64,
    digest: Context,
}

impl<'a> Reading<'a> {
    fn new(rows: Receiver<Option<Row>>, part: &'a str, name: &'static str) -> Self {
        Self {
            rows,
            part,
            name,
            last: None,
            count: 0,
            digest: Context::new(&SHA256),
        }
    }

    async fn next(&mut self) -> Result<Option<Row>, MigrateError> {
        let part = || self.part.to_owned();
        let row = self.rows.recv().await;
        let row =
            row.ok_or_else(|| MigrateError::Read(part(), self.name, "it broke off".into()))?;
        let Some(row) = row else {
            return Ok(None);
        };
        if self.last.as_ref().is_some_and(|last| *last >= row.key) {
            return Err(MigrateError::Order(row.named(self.part), self.name));
        }
        self.last = Some(row.key.clone());
        self.count += 1;
        for text in [&row.key_text(), &row.text] {
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
    here: Reading<'a>,
    there: Reading<'a>,
    batch: Vec<Row>,
    bytes: usize,
    copies: Option<&'a (dyn Fn() + Sync)>,
}

impl Walk<'_> {
    async fn run(&mut self, seen: &(dyn Fn() + Sync)) -> Result<(), MigrateError> {
        let walked = self.both(seen).await;
        // Sides that still read see that the walk has ended.
        self.here.rows.close();
        self.there.rows.close();
        walked
    }

    async fn both(&mut self, seen: &(dyn Fn() + Sync)) -> Result<(), MigrateError> {
        let part = self.part.name.as_str();
        let mut there = self.there.next().await?;
        while let Some(row) = self.here.next().await? {
            let order = there
                .as_ref()
                .map_or(Ordering::Greater, |there| there.key.cmp(&row.key));
            match (order, &there) {
                (Ordering::Less, Some(foreign)) => {
                    return Err(MigrateError::Foreign(foreign.named(part)));
                }
                (Ordering::Equal, Some(same)) if same.text == row.text => {
                    there = self.there.next().await?;
                }
                (Ordering::Equal, Some(other)) => {
                    return Err(MigrateError::Differs(other.named(part)));
                }
                _ => self.missing(row).await?,
            }
            seen();
        }
        there.map_or(Ok(()), |foreign| {
            Err(MigrateError::Foreign(foreign.named(part)))
        })
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
        inserted.map_err(|cause| MigrateError::Write(self.part.name.clone(), cause))?;
        if let Some(written) = self.copies {
            (0..count).for_each(|_| written());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
