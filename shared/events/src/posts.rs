//! Events of posts. Each carries the whole state, so that the last one of a post is enough to rebuild from.

use chrono::{DateTime, Utc};
use serde::Serializer;
use uuid::Uuid;

use crate::topic;

events! {
    on topic::POSTS, by post_id;

    /// A post was published. The feed generator adds it to the streams.
    pub struct PostCreated = "post.created" version 1 {
        /// The post's id: the key.
        pub post_id: Uuid = Uuid::from_u128(7),
        /// The author.
        pub user_id: i64 = 3,
        /// The author's name when the event happened.
        pub username: String = "ada".into(),
        /// At most 200 characters.
        pub title: String = "Hello".into(),
        /// As it was written: data, never interpreted.
        pub content: String = "Grüße <b>& more</b>\n".into(),
        /// Normalised, in the author's order.
        pub tags: Vec<String> = vec!["rust".into()],
        /// When the post was first published.
        #[serde(serialize_with = "millis")]
        pub created_at: DateTime<Utc> = crate::golden::TIME - chrono::TimeDelta::milliseconds(1),
    }

    /// A post was changed. The feed generator replaces it where it stands.
    pub struct PostUpdated = "post.updated" version 1 {
        /// The post's id: the key.
        pub post_id: Uuid = Uuid::from_u128(7),
        /// The author.
        pub user_id: i64 = 3,
        /// The author's name when the event happened.
        pub username: String = "ada".into(),
        /// At most 200 characters.
        pub title: String = "Hello".into(),
        /// As it was written: data, never interpreted.
        pub content: String = "Grüße <b>& more</b>\n".into(),
        /// Normalised, in the author's order.
        pub tags: Vec<String> = vec!["rust".into()],
        /// When the post was first published.
        #[serde(serialize_with = "millis")]
        pub created_at: DateTime<Utc> = crate::golden::TIME - chrono::TimeDelta::milliseconds(1),
    }

    /// A post was deleted: ids only, so that its content does not stay.
    pub struct PostDeleted = "post.deleted" version 1 {
        /// The post's id: the key.
        pub post_id: Uuid = Uuid::from_u128(7),
        /// The former author.
        pub user_id: i64 = 3,
    }
}

fn millis<S: Serializer>(time: &DateTime<Utc>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&crate::timestamp(*time))
}
