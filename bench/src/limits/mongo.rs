//! The MongoDB-wire server, and nothing else: one document an insert, each durable.

use mongodb::bson::{DateTime, Document, Uuid, doc};
use mongodb::options::{Acknowledgment, ClientOptions, CollectionOptions, WriteConcern};
use mongodb::{Client, Collection};

use super::Pace;
use crate::community::{CONTENT, TAGS, TITLE};
use crate::load::Answers;

/// The database of the documents; it is dropped before each turn.
pub const DATABASE: &str = "bench";
/// As many as the posts service has.
const CONNECTIONS: u32 = 32;

/// Inserts documents that say what posts say.
pub async fn insert(url: &str, pace: &Pace) -> anyhow::Result<Answers> {
    let mut options = ClientOptions::parse(url).await?;
    options.max_pool_size = Some(CONNECTIONS);
    let client = Client::with_options(options)?;
    let durable = WriteConcern::builder()
        .w(Acknowledgment::Majority)
        .journal(true)
        .build();
    let options = CollectionOptions::builder().write_concern(durable).build();
    let posts = client
        .database(DATABASE)
        .collection_with_options::<Document>("posts", options);
    let step = |posts: Collection<Document>| async move {
        posts.insert_one(post()).await?;
        Ok(posts)
    };
    let answers = pace.repeat(&posts, step).await;
    client.shutdown().await;
    answers
}

fn post() -> Document {
    let now = DateTime::now();
    doc! {
        "_id": Uuid::new().to_string(), "user_id": 7_i64, "username": "rook-7", "title": TITLE,
        "content": CONTENT, "tags": TAGS.map(String::from).to_vec(), "version": 1_i64,
        "created_at": now, "updated_at": now, "deleted": false,
    }
}
