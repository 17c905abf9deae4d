//! The write seam alone: the rows of a post and of its event, without HTTP, relay and consumers.

use std::sync::Arc;

use blocks::SystemClock;
use sql::{Db, Durability, Migration, Settings, StoreError, on};

use super::Writers;
use super::sqlite::{TABLE, WRITE};
use crate::community::post_created;
use crate::load::Answers;

const MIGRATIONS: &[Migration] = &[Migration {
    version: 1001,
    what: "posts",
    sqlite: TABLE,
    postgres: "",
}];

/// Writes posts with their events through [`Db::write`].
pub async fn write(writers: &Writers) -> anyhow::Result<Answers> {
    let settings = Settings::new("posts", Arc::new(SystemClock));
    let path = writers.folder.join("seam.db");
    let db = Db::open_sqlite(&path, Durability::Full, settings, MIGRATIONS).await?;
    let step = |db: Db| async move {
        post(&db).await?;
        Ok(db)
    };
    let answers = writers.pace.repeat(&db, step).await;
    db.close().await;
    answers
}

async fn post(db: &Db) -> Result<(), StoreError> {
    let post = post_created(7);
    db.write(move |tx| {
        Box::pin(async move {
            let tags = serde_json::to_string(&post.tags)?;
            on!(tx, conn => sqlx::query(WRITE)
                .bind(post.post_id)
                .bind(post.user_id)
                .bind(&post.title)
                .bind(&post.content)
                .bind(tags)
                .bind(post.created_at)
                .execute(&mut *conn)
                .await
                .map(|_| ()))?;
            tx.publish(&post, 1).await
        })
    })
    .await
}
