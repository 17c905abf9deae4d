//! The contract between services: event types, their envelope, and the topics that carry them.
//!
//! Types only: no runtime, no I/O. Every event has a golden file in `golden/`, so that a change of
//! the wire format is seen in review.
//!
//! To add an event:
//! 1. write the struct in the module of its topic, with doc comments that say who reads it;
//! 2. implement [`Event`]: topic, `<noun>.<past tense>`, version 1, and the subject (the key);
//! 3. add it to `tests/golden.rs` and run it once with `UPDATE_GOLDEN=1`.
//!
//! To change one: add an optional field. Nothing is ever renamed or removed.

mod envelope;
pub mod posts;
pub mod profiles;
pub mod topic;
pub mod trace;
pub mod users;

pub use envelope::{Context, Envelope, Headers, Malformed, Message, Value, header, timestamp};
pub use topic::{Cleanup, Topic, dead_letter_topic};
pub use trace::Traceparent;

use serde::{Serialize, de::DeserializeOwned};

/// A fact with a name, a version and a subject.
///
/// ```
/// use events::posts::PostDeleted;
/// use events::{Context, Envelope, Event, Topic, topic};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct PostPinned {
///     post_id: u64,
/// }
///
/// impl Event for PostPinned {
///     const TOPIC: &'static Topic = &topic::POSTS;
///     const TYPE: &'static str = "post.pinned";
///     const VERSION: u16 = 1;
///     fn subject(&self) -> String {
///         self.post_id.to_string()
///     }
/// }
///
/// // `sql::Tx::publish` makes the envelope; a consumer opens it.
/// let (id, time) = (uuid::Uuid::nil(), chrono::DateTime::UNIX_EPOCH);
/// let pinned = PostPinned { post_id: 7 };
/// let envelope = Envelope::new(id, "posts", time, 1, Context::default(), &pinned)?;
/// assert_eq!((envelope.topic.as_str(), envelope.subject.as_str()), ("posts-events", "7"));
/// assert!(envelope.open::<PostDeleted>().is_none(), "another type on the same topic");
/// assert_eq!(envelope.open::<PostPinned>().unwrap()?.post_id, 7);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
pub trait Event: Serialize + DeserializeOwned {
    /// The topic that carries it.
    const TOPIC: &'static Topic;
    /// `<noun>.<past tense>`, unique over all topics.
    const TYPE: &'static str;
    /// The version of the schema of the data; readers refuse one they do not know.
    const VERSION: u16;

    /// The aggregate's id as text: the partition key. One aggregate's events stay in order.
    fn subject(&self) -> String;
}
