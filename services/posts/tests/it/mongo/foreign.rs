//! Documents that somebody else put into our collections, or half of one.

use blocks::extract::Span;
use std::io;
use std::sync::Arc;

use blocks::outbox::{Outbox, Place};
use mongodb::bson::{DateTime, Document, doc};
use parking_lot::Mutex;
use posts::store::mongo::MongoPosts;
use posts::store::{Filter, PostStore};
use uuid::Uuid;

use super::{Publishing, ada, create, draft, fresh};

/// A log that tests read.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn about(&self, what: &str) -> usize {
        let text = String::from_utf8(self.0.lock().clone()).unwrap();
        text.lines().filter(|line| line.contains(what)).count()
    }
}

#[tokio::test]
#[ignore = "needs TEST_MONGODB_URL"]
async fn a_foreign_document_is_named_in_the_log_once_and_the_others_go_on() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);

    let mongo = fresh().await;
    let documents = mongo.database().collection::<Document>("posts");
    let now = DateTime::now();
    let half = Uuid::from_u128(1).to_string();
    let foreign = [
        // No id of a post, no content, and what waits in it is no event of ours.
        doc! {"_id": "garbage", "deleted": false, "created_at": now, "pending": [{"id": "0"}]},
        // The first half of a post.
        doc! {
            "_id": &half, "deleted": false, "created_at": now, "user_id": 1_i64,
            "pending": [{"id": "00000000-0000-7000-8000-000000000000", "topic": "posts-events"}],
        },
        doc! {"_id": 7, "deleted": false, "created_at": "yesterday", "pending": "none"},
        doc! {"_id": "bare"},
    ];
    documents.insert_many(foreign).await.unwrap();
    let authors = mongo.database().collection::<Document>("authors");
    let author = doc! {"_id": "1", "username": 5};
    authors.insert_one(author).await.unwrap();

    let posts = MongoPosts::new(mongo.clone());
    let post = create(&mongo, "good").await;
    let everything = Filter::default();
    let page = posts.newest(&everything, Span::first(10)).await.unwrap();
    assert_eq!(page, std::slice::from_ref(&post));
    assert_eq!(posts.get(Uuid::from_u128(1)).await.unwrap(), None);
    for size in [1, 10] {
        let pending = mongo.pending(None, Place::START, size).await.unwrap();
        assert_eq!(pending.len(), 1);
    }
    let folder = tempfile::tempdir().unwrap();
    let publishing = Publishing::start(&mongo, folder.path()).await;
    for number in 0..3 {
        posts
            .create(draft(&number.to_string()), ada(), None)
            .await
            .unwrap();
    }
    super::until("four events on the topic", async || {
        publishing.published().await.len() == 4
    })
    .await;
    publishing.stop().await;
    for id in ["garbage", &half] {
        assert_eq!(lines.about(id), 1, "{id}");
    }
    assert!(lines.about("not as this service writes it") >= 3);
}
