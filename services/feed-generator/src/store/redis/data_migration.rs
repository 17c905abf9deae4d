//! What the streams in a SQLite file are in Redis, for the one who moves there: see [`blocks::data_migration`].
//!
//! | from | to |
//! |---|---|
//! | `authors` | names, closed accounts |
//! | `consumer_versions`, `parked_keys`, `inbox_messages` | the group's versions, and what waits |
//! | `entries` | the streams, as long as they are kept here, and the bounds of those that were longer |
//!
//! The group then reads Kafka from its beginning and skips what it has by version, so that what was
//! given up stays so, and the streams show what they showed before it has read anything. What the
//! streams no longer keep they take from the log when they need it, as always.

mod source;
mod target;

use blocks::data_migration::{Key as Field, Nothing, Part, Row, Side};
use blocks::extract::Keyset;
use sql::Db;
use uuid::Uuid;

use self::source::Here;
use self::target::There;
use super::RedisFeed;
use crate::NAME;
use crate::domain::Stream;
use crate::render::Rendered;

/// The last number that a blocked key got.
const LAST: &str = "last_id";

/// All that is to move from the SQLite file `from` to `to`, in an order in which each part may be the
/// last: closed accounts before the entries that they must not bring back.
pub fn parts(from: &Db, to: &RedisFeed) -> Vec<Part> {
    let part = |of: Of| Part {
        name: format!("{NAME}.{}", of.name()),
        source: of.source(from),
        target: Box::new(There {
            feed: to.clone(),
            of,
        }),
    };
    [
        Of::Names,
        Of::Closed,
        Of::Versions,
        Of::Parked,
        Of::Waiting,
        Of::Counters,
        Of::Streams,
        Of::Offsets,
    ]
    .map(part)
    .into()
}

/// What is moved as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Names,
    Closed,
    Versions,
    Parked,
    Waiting,
    Counters,
    Streams,
    Offsets,
}

impl Of {
    fn name(self) -> &'static str {
        match self {
            Self::Names => "names",
            Self::Closed => "closed",
            Self::Versions => "versions",
            Self::Parked => "parked",
            Self::Waiting => "waiting",
            Self::Counters => "counters",
            Self::Streams => "streams",
            Self::Offsets => "offsets",
        }
    }

    fn source(self, db: &Db) -> Box<dyn Side> {
        match self {
            // Positions belong to the log that they were in.
            Self::Offsets => Box::new(Nothing),
            of => Box::new(Here { db: db.clone(), of }),
        }
    }
}

/// Of everybody's stream and of each user's: how its rows begin.
fn number(stream: Stream) -> i64 {
    match stream {
        Stream::Global => 0,
        Stream::User(user) => user,
    }
}

fn stream(number: i64) -> Stream {
    match number {
        0 => Stream::Global,
        user => Stream::User(user),
    }
}

/// As it stands in the names of its keys.
fn name(stream: Stream) -> String {
    match stream {
        Stream::Global => "global".to_owned(),
        Stream::User(user) => format!("user:{user}"),
    }
}

/// An entry of a stream, newest first. Behind all of them comes the bound.
fn entry(of: Stream, entry: &Rendered) -> Row {
    let Keyset {
        ms: created_ms,
        id: post_id,
    } = entry.place();
    let key = [
        Field::Number(number(of)),
        Field::Number(0),
        Field::Number(-created_ms),
        Field::Id(Uuid::from_u128(!post_id.as_u128())),
    ];
    Row::new(key, entry.text())
}

/// Up to where a stream may lack posts.
fn bound(of: Stream, text: impl Into<String>) -> Row {
    Row::new([Field::Number(number(of)), Field::Number(1)], text)
}

fn text(text: &str) -> Field {
    Field::Text(text.to_owned())
}
