//! The trait of events, and the macro that declares them.

use serde::{Serialize, de::DeserializeOwned};

use crate::Topic;

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

/// The events of one topic, whose key is one of their fields, or of several where an event says so. It makes the
/// structs and their [`Event`], the list `CONTRACT`, and the test that holds each to its golden file. The recipe is at the top of the crate.
macro_rules! events {
    (@key $event:ident, $key:ident) => {
        $event.$key.to_string()
    };
    (@key $event:ident, $key:ident $(/ $own:ident)+) => {
        [$($event.$own.to_string()),+].join("/")
    };
    (
        on $topic:path, by $key:ident;
        $(
            $(#[$about:meta])*
            pub struct $name:ident = $type:literal version $version:literal $(by $($own:ident)/+)? {
                $($(#[$meta:meta])* pub $field:ident: $of:ty = $example:expr),* $(,)?
            }
        )*
    ) => {
        $(
            $(#[$about])*
            #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
            pub struct $name {
                $($(#[$meta])* pub $field: $of),*
            }

            impl crate::Event for $name {
                const TOPIC: &'static crate::Topic = &$topic;
                const TYPE: &'static str = $type;
                const VERSION: u16 = $version;
                fn subject(&self) -> String {
                    events!(@key self, $key $($(/ $own)+)?)
                }
            }
        )*

        /// This topic, and the types of its events.
        pub const CONTRACT: (&crate::Topic, &[&str]) = (&$topic, &[$($type),*]);

        #[cfg(test)]
        #[test]
        fn every_event_keeps_its_wire_format() {
            $(crate::golden::is_kept(&$name { $($field: $example),* });)*
        }
    };
}
