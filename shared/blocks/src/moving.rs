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
pub enum MoveError {
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
    pub async fn compare(&self, seen: &(dyn Fn() + Sync)) -> Result<Compared, MoveError> {
        self.walk(seen, None).await
    }

    /// Writes what is missing; `written` is told of each row. Answers how many there were.
    ///
    /// # Errors
    /// As [`Part::compare`], and when the target does not take a row.
    pub async fn copy(&self, written: &(dyn Fn() + Sync)) -> Result<u64, MoveError> {
        let compared = self.walk(&|| {}, Some(written)).await?;
        Ok(compared.missing())
    }

    async fn walk(
        &self,
        seen: &(dyn Fn() + Sync),
        copies: Option<&(dyn Fn() + Sync)>,
    ) -> Result<Compared, MoveError> {
        let (here_out, here) = mpsc::channel(AHEAD);
        let (there_out, there) = mpsc::channel(AHEAD);
        let read = async |side: &dyn Side, rows: Sender<Option<Row>>, name| {
            let rows = Rows(rows);
            let done = side.read(&rows).await;
            done.map_err(|cause| MoveError::Read {
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

    async fn next(&mut self, part: &str) -> Result<Option<Row>, MoveError> {
        let row = self.rows.recv().await.ok_or_else(|| MoveError::Read {
            part: part.to_owned(),
            side: self.name,
            cause: "it broke off".into(),
        })?;
        let Some(row) = row else {
            return Ok(None);
        };
        if self.last.as_ref().is_some_and(|last| *last >= row.key) {
            return Err(MoveError::Order {
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
    async fn run(&mut self, seen: &(dyn Fn() + Sync)) -> Result<(), MoveError> {
        let walked = self.both(seen).await;
        // Whoever still reads is told that nobody wants more.
        self.here.rows.close();
        self.there.rows.close();
        walked
    }

    async fn both(&mut self, seen: &(dyn Fn() + Sync)) -> Result<(), MoveError> {
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
                    return Err(MoveError::Differs {
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

    fn foreign(&self, row: &Row) -> MoveError {
        MoveError::Foreign {
            part: self.part.name.clone(),
            key: row.named(),
        }
    }

    async fn missing(&mut self, row: Row) -> Result<(), MoveError> {
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

    async fn flush(&mut self) -> Result<(), MoveError> {
        let rows = std::mem::take(&mut self.batch);
        self.bytes = 0;
        if rows.is_empty() {
            return Ok(());
        }
        let count = rows.len();
        let inserted = self.part.target.insert(rows).await;
        inserted.map_err(|cause| MoveError::Write {
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
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Memory {
        rows: Arc<Mutex<BTreeMap<i64, String>>>,
        /// How many rows it takes before it breaks.
        takes: Option<usize>,
        breaks_after: Option<usize>,
    }

    impl Memory {
        fn of(rows: impl IntoIterator<Item = i64>) -> Self {
            let rows = rows.into_iter().map(|key| (key, format!("row {key}")));
            Self {
                rows: Arc::new(Mutex::new(rows.collect())),
                ..Self::default()
            }
        }

        fn keys(&self) -> Vec<i64> {
            self.rows.lock().keys().copied().collect()
        }
    }

    #[async_trait]
    impl Side for Memory {
        async fn read(&self, rows: &Rows) -> Result<(), BoxError> {
            let all = self.rows.lock().clone();
            for (at, (key, text)) in all.into_iter().enumerate() {
                if self.breaks_after == Some(at) {
                    return Err("broken".into());
                }
                if !rows.give(Row::new([Key::Number(key)], text)).await {
                    break;
                }
            }
            Ok(())
        }
    }

    #[async_trait]
    impl Target for Memory {
        async fn insert(&self, new: Vec<Row>) -> Result<(), BoxError> {
            for row in new {
                let mut rows = self.rows.lock();
                if self.takes.is_some_and(|takes| rows.len() >= takes) {
                    return Err("full".into());
                }
                let [Key::Number(key)] = row.key[..] else {
                    return Err("no number".into());
                };
                assert_eq!(rows.insert(key, row.text), None, "it was there");
            }
            Ok(())
        }
    }

    fn part(source: &Memory, target: &Memory) -> Part {
        Part {
            name: "test".into(),
            source: Box::new(source.clone()),
            target: Box::new(target.clone()),
        }
    }

    #[tokio::test]
    async fn what_is_missing_is_written_and_a_second_time_nothing_is() {
        let (source, target) = (Memory::of(0..1300), Memory::of((0..1300).step_by(3)));
        let part = part(&source, &target);
        let before = part.compare(&|| {}).await.unwrap();
        assert_eq!((before.here, before.missing()), (1300, 866));
        assert!(!before.is_equal());
        assert_eq!(part.copy(&|| {}).await.unwrap(), 866);
        assert_eq!(target.keys(), source.keys());
        assert!(part.compare(&|| {}).await.unwrap().is_equal());
        assert_eq!(part.copy(&|| {}).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn one_that_was_broken_off_goes_on_where_it_stopped() {
        let source = Memory::of(0..2000);
        let broken = Memory {
            takes: Some(700),
            ..Memory::default()
        };
        let error = part(&source, &broken).copy(&|| {}).await.unwrap_err();
        assert!(matches!(error, MoveError::Write { .. }), "{error}");
        let mended = Memory {
            takes: None,
            ..broken
        };
        assert_eq!(part(&source, &mended).copy(&|| {}).await.unwrap(), 1300);
        assert_eq!(mended.keys(), source.keys());
    }

    #[tokio::test]
    async fn what_did_not_come_from_here_is_refused_wherever_it_lies() {
        for foreign in [-1, 5, 99] {
            let source = Memory::of((0..20).filter(|key| *key != 5));
            let target = Memory::of([foreign]);
            let part = part(&source, &target);
            for error in [
                part.compare(&|| {}).await.err(),
                part.copy(&|| {}).await.err(),
            ] {
                let error = error.unwrap().to_string();
                assert!(
                    error.contains(&format!("test: {foreign} is there")),
                    "{error}"
                );
            }
            assert_eq!(target.keys(), [foreign], "nothing was written");
        }
    }

    #[tokio::test]
    async fn a_row_that_is_another_one_there_is_refused() {
        let (source, target) = (Memory::of(0..20), Memory::of(0..3));
        target.rows.lock().insert(1, "changed".into());
        let error = part(&source, &target).copy(&|| {}).await.unwrap_err();
        assert!(matches!(error, MoveError::Differs { key, .. } if key == "1"));
    }

    #[tokio::test]
    async fn a_side_that_breaks_is_not_taken_for_one_that_ends() {
        let broken = |rows| Memory {
            breaks_after: Some(2),
            ..Memory::of(rows)
        };
        let whole = Memory::of(0..20);
        let error = part(&broken(0..20), &Memory::of(0..2))
            .compare(&|| {})
            .await;
        assert!(matches!(error, Err(MoveError::Read { side: HERE, .. })));
        let error = part(&whole, &broken(0..20)).compare(&|| {}).await;
        assert!(matches!(error, Err(MoveError::Read { side: THERE, .. })));
    }

    #[tokio::test]
    async fn what_a_target_that_breaks_off_did_not_show_is_not_written_again() {
        // A memory panics when it is given what it has.
        let there = Memory {
            breaks_after: Some(1),
            ..Memory::of(0..5000)
        };
        let here = Memory::of(0..5000);
        let error = part(&here, &there).copy(&|| {}).await;
        assert!(matches!(error, Err(MoveError::Read { side: THERE, .. })));
        assert_eq!(there.keys().len(), 5000);
    }
}
