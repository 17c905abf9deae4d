//! The contract between services: event types, their envelope, and the topics that carry them.
//!
//! Types only: no runtime, no I/O. Every event has a golden file in `golden/`, so that a change of
//! the wire format is seen in review.
//!
//! To add an event:
//! 1. Write its struct in the module of its topic, inside `events!`. The doc comment says who reads it,
//!    the name is `<noun>.<past tense>`, and each field ends with the value of it in the golden file:
//!
//!    ```text
//!    /// A task was finished. Notification tells whoever asked for it.
//!    pub struct TaskCompleted = "task.completed" version 1 {
//!        /// The task: the key.
//!        pub task_id: i64 = 7,
//!        /// Who finished it.
//!        pub user_id: i64 = 3,
//!    }
//!    ```
//! 2. Write its golden file with `UPDATE_GOLDEN=1 cargo test -p events`, and read what came out.
//!
//! To add a topic: its constant in [`topic`], and a module here with `events! { on topic::X, by x_id; … }`,
//! named in [`ALL`].
//!
//! To change an event: add an optional field. Nothing is ever renamed or removed.

#![warn(missing_docs)]

#[macro_use]
mod contract;
mod envelope;
#[cfg(test)]
mod golden;
pub mod posts;
pub mod profiles;
pub mod topic;
pub mod trace;
pub mod users;

pub use contract::Event;
pub use envelope::{Context, Envelope, Headers, Malformed, Message, Value, header, timestamp};
pub use topic::{Cleanup, Topic, dead_letter_topic};
pub use trace::Traceparent;

/// Every topic that a service publishes to, and the types of its events.
pub const ALL: &[(&Topic, &[&str])] = &[posts::CONTRACT, profiles::CONTRACT, users::CONTRACT];

/// The topics of [`ALL`].
pub fn topics() -> impl Iterator<Item = &'static Topic> {
    ALL.iter().map(|(topic, _)| *topic)
}

/// The topic of [`ALL`] with this name.
pub fn topic_named(name: &str) -> Option<&'static Topic> {
    topics().find(|topic| topic.name == name)
}
