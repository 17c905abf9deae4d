//! The commands on posts.

use blocks::extract::IdempotencyKey;
use blocks::{Caller, Command};

use crate::Posts;
use crate::domain::{Author, Changes, Draft, Post, PostId};
use crate::error::PostError;

/// Most tries of a change when others change the post in between. One writer succeeds each
/// time, so this many may meet.
const ATTEMPTS: usize = 64;

/// Publishes a post as the caller; with a key, only once, however often it is sent.
pub struct CreatePost {
    pub by: Caller,
    pub draft: Draft,
    pub key: IdempotencyKey,
}
blocks::operation!(CreatePost -> Result<Post, PostError>, "posts.create", |it| user.id = it.by.id);

impl Command<Posts> for CreatePost {
    async fn run(self, on: &Posts) -> Result<Post, PostError> {
        let request = self.key.request(&self.draft.parts());
        let author = Author {
            id: self.by.id,
            name: self.by.name.as_ref().to_owned(),
        };
        on.store().create(self.draft, author, request).await
    }
}

/// Changes a post for its author or an admin. Writes nothing if nothing would change.
pub struct UpdatePost {
    pub by: Caller,
    pub id: PostId,
    pub changes: Changes,
}
blocks::operation!(UpdatePost -> Result<Post, PostError>, "posts.update",
    |it| user.id = it.by.id, post.id = %it.id);

impl Command<Posts> for UpdatePost {
    async fn run(self, on: &Posts) -> Result<Post, PostError> {
        for _ in 0..ATTEMPTS {
            let post = owned(on, &self.by, self.id).await?;
            let Some((next, event)) = post.change(self.changes.clone(), on.now()) else {
                return Ok(post);
            };
            if on.store().update(&next, &event).await? {
                return Ok(next);
            }
        }
        Err(PostError::Contended)
    }
}

/// Deletes a post for its author or an admin.
pub struct DeletePost {
    pub by: Caller,
    pub id: PostId,
}
blocks::operation!(DeletePost -> Result<(), PostError>, "posts.delete",
    |it| user.id = it.by.id, post.id = %it.id);

impl Command<Posts> for DeletePost {
    async fn run(self, on: &Posts) -> Result<(), PostError> {
        for _ in 0..ATTEMPTS {
            let post = owned(on, &self.by, self.id).await?;
            if on.store().delete(&post, &post.deleted()).await? {
                return Ok(());
            }
        }
        Err(PostError::Contended)
    }
}

async fn owned(on: &Posts, by: &Caller, id: PostId) -> Result<Post, PostError> {
    let post = on
        .store()
        .get(id.uuid())
        .await?
        .ok_or(PostError::NotFound)?;
    if by.may_act_for(post.author.id) {
        Ok(post)
    } else {
        Err(PostError::NotYours)
    }
}
