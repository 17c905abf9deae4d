//! The data migration of the streams from a SQLite file to Redis: see [`blocks::data_migration`].
//!
//! | from | to |
//! |---|---|
//! | `authors` | names, closed accounts |
//! | `consumer_versions`, `parked_keys`, `inbox_messages` | the group's versions, and what waits |
//! | `entries` | the streams, as long as they are kept here, and the bounds of those that were longer |
//!
//! The group then reads Kafka from its beginning and skips what it has by version. So what was given up
//! stays so, and the streams show at once what they showed before. Posts that the streams no longer keep
//! come from the log when they are needed, as always.

mod source;
mod target;

use std::sync::Arc;

use blocks::bus::EventBus;
use blocks::data_migration::{Key as Field, Part, Row};
use sql::Db;
use uuid::Uuid;

use self::target::There;
use super::RedisFeed;
use crate::NAME;
use crate::domain::Stream;
use crate::render::Rendered;

/// The last number that a blocked key got.
const LAST: &str = "last_id";

/// All parts of the migration from the SQLite file `from` to `to`. Each may be the last one that is done: closed
/// accounts come before the entries that must not bring them back.
pub fn parts(from: &Db, to: &RedisFeed, bus: Arc<dyn EventBus>) -> Vec<Part> {
    let (group, _) = to.group(bus);
    let part = |(name, of): (&str, Of)| Part {
        name: format!("{NAME}.{name}"),
        source: source::side(from, of),
        target: Box::new(There {
            feed: to.clone(),
            group: Arc::clone(&group),
            of,
        }),
    };
    [
        ("names", Of::Names),
        ("closed", Of::Closed),
        ("versions", Of::Versions),
        ("parked", Of::Parked),
        ("waiting", Of::Waiting),
        ("counters", Of::Counters),
        ("streams", Of::Streams),
        ("offsets", Of::Offsets),
    ]
    .map(part)
    .into()
}

/// The parts of the migration.
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

/// The first number in the keys of a stream's rows.
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

/// An entry of a stream, newest first. Behind all of them comes the bound.
fn entry(of: Stream, entry: &Rendered) -> Row {
    let place = entry.place();
    let key = [
        Field::Number(number(of)),
        Field::Number(0),
        Field::Number(-place.ms),
        Field::Id(Uuid::from_u128(!place.id.as_u128())),
    ];
    Row::new(key, entry.text())
}

/// The place up to which a stream may lack posts.
fn bound(of: Stream, text: impl Into<String>) -> Row {
    Row::new([Field::Number(number(of)), Field::Number(1)], text)
}

fn text(text: &str) -> Field {
    Field::Text(text.to_owned())
}
