//! The topics: their names, partitions and how long they keep what they carry.

/// The way a topic removes old records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleanup {
    /// Records older than this many milliseconds are dropped.
    Delete {
        /// Age in ms.
        after_ms: u64,
    },
    /// Of records older than this many milliseconds only the last of each key stays.
    Compact {
        /// Age in ms (Kafka's `min.compaction.lag.ms`).
        after_ms: u64,
    },
}

/// A topic as it is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topic {
    /// Its name on the bus.
    pub name: &'static str,
    /// Fixed at creation: the key's hash picks the partition, so another count would break order.
    pub partitions: u16,
    /// The way old records are removed.
    pub cleanup: Cleanup,
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Time that personal data stays on a topic, in ms.
pub const WEEK_MS: u64 = 7 * DAY_MS;

/// Time that a dead letter stays on its topic, in ms.
pub const DEAD_LETTER_MS: u64 = 30 * DAY_MS;

const fn weekly(name: &'static str, partitions: u16) -> Topic {
    Topic {
        name,
        partitions,
        cleanup: Cleanup::Delete { after_ms: WEEK_MS },
    }
}

/// Events of posts. Compacted: the last event of each post stays for ever, rebuilds read it.
pub const POSTS: Topic = Topic {
    name: "posts-events",
    partitions: 6,
    cleanup: Cleanup::Compact { after_ms: WEEK_MS },
};
/// Events of accounts.
pub const USERS: Topic = weekly("user.events", 3);
/// Events of profiles.
pub const PROFILES: Topic = weekly("profile.events", 3);

/// The name of the dead-letter topic for consumers of `topic`.
///
/// ```
/// assert_eq!(events::dead_letter_topic(events::topic::POSTS.name), "posts-events.dlq");
/// ```
pub fn dead_letter_topic(topic: &str) -> String {
    format!("{topic}.dlq")
}
