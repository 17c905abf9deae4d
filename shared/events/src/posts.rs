//! What became of posts, on `posts-events`. Every event carries the whole state, so that the last
//! one of a post is enough to rebuild from.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Event, Topic, topic};

macro_rules! post_state {
    ($(#[$doc:meta])* $name:ident, $type:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            /// The post's id: the key.
            pub post_id: Uuid,
            /// Who wrote it.
            pub user_id: i64,
            /// The author's name when the event happened.
            pub username: String,
            /// At most 200 characters.
            pub title: String,
            /// As it was written: data, never interpreted.
            pub content: String,
            /// Normalised, in the author's order.
            pub tags: Vec<String>,
            /// When the post was first published.
            #[serde(with = "crate::posts::millis")]
            pub created_at: DateTime<Utc>,
        }

        impl Event for $name {
            const TOPIC: &'static Topic = &topic::POSTS;
            const TYPE: &'static str = $type;
            const VERSION: u16 = 1;
            fn subject(&self) -> String {
                self.post_id.to_string()
            }
        }
    };
}

post_state!(
    /// A post was published. The feed generator adds it to the streams.
    PostCreated,
    "post.created"
);
post_state!(
    /// A post was changed. The feed generator replaces it where it stands.
    PostUpdated,
    "post.updated"
);

/// A post was deleted: ids only, so that its content does not stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostDeleted {
    /// The post's id: the key.
    pub post_id: Uuid,
    /// Who had written it.
    pub user_id: i64,
}

impl Event for PostDeleted {
    const TOPIC: &'static Topic = &topic::POSTS;
    const TYPE: &'static str = "post.deleted";
    const VERSION: u16 = 1;
    fn subject(&self) -> String {
        self.post_id.to_string()
    }
}

/// RFC 3339 UTC with milliseconds, for serde's `with`.
pub mod millis {
    use chrono::{DateTime, Utc};
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes it.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(time: &DateTime<Utc>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&crate::timestamp(*time))
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it is no RFC 3339 timestamp.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<DateTime<Utc>, D::Error> {
        DateTime::deserialize(from)
    }
}
