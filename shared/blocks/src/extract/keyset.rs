//! The key of lists that are newest first: the time, and the id where times are equal.
//!
//! A store reads the rows below a key in index order, so that a page costs the same anywhere in the list. Its
//! condition is `(created_at, id) < ($1, $2) order by created_at desc, id desc limit $3`, and the
//! [`Span`] of a page has the values.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A row's place in a list. The greatest key comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "(i64, Uuid)", try_from = "(i64, Uuid)")]
pub struct Keyset {
    /// Milliseconds since 1970.
    pub ms: i64,
    /// Tells rows of one millisecond apart.
    pub id: Uuid,
}

impl Keyset {
    /// Above every row: the end of the year 9999. Databases know no time far beyond it.
    pub const TOP: Self = Self {
        ms: 253_402_300_799_999,
        id: Uuid::max(),
    };

    /// The key of a row that was created `at`.
    pub fn new(at: DateTime<Utc>, id: Uuid) -> Self {
        Self {
            ms: at.timestamp_millis(),
            id,
        }
    }

    /// The time as stores keep it.
    pub fn at(self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.ms).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

/// A part of a list that is newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// It begins after this key,
    pub after: Keyset,
    /// without so many of the rows there,
    pub skip: i64,
    /// and has no more rows than this.
    pub limit: i64,
}

impl Span {
    /// The newest rows.
    pub fn first(limit: i64) -> Self {
        Self {
            after: Keyset::TOP,
            skip: 0,
            limit,
        }
    }
}

impl From<Keyset> for (i64, Uuid) {
    fn from(Keyset { ms, id }: Keyset) -> Self {
        (ms, id)
    }
}

impl TryFrom<(i64, Uuid)> for Keyset {
    type Error = &'static str;

    fn try_from((ms, id): (i64, Uuid)) -> Result<Self, Self::Error> {
        if (0..=Self::TOP.ms).contains(&ms) {
            Ok(Self { ms, id })
        } else {
            Err("the time is in no year from 1970 to 9999")
        }
    }
}
