//! The commands on posts.

use blocks::Caller;
use blocks::extract::IdempotencyKey;
use uuid::Uuid;

use crate::Posts;
use crate::domain::{Author, Changes, Draft, Post};
use crate::error::PostError;

/// Most tries of a change when others change the post in between. One writer succeeds each
/// time, so this many may meet.
const ATTEMPTS: usize = 64;

/// Publishes `draft` as `caller`; with `key`, only once, however often it is sent.
///
/// # Errors
/// See [`PostError`].
pub async fn create(
    posts: &Posts,
    caller: &Caller,
    draft: Draft,
    key: IdempotencyKey,
) -> Result<Post, PostError> {
    let request = key.request(&draft.parts());
    let author = Author {
        id: caller.id,
        name: caller.name.as_ref().to_owned(),
    };
    posts.store().create(draft, author, request).await
}

/// Changes a post for its author or an admin. Writes nothing if nothing would change.
///
/// # Errors
/// See [`PostError`].
pub async fn update(
    posts: &Posts,
    caller: &Caller,
    id: Uuid,
    changes: Changes,
) -> Result<Post, PostError> {
    for _ in 0..ATTEMPTS {
        let post = owned(posts, caller, id).await?;
        let Some((next, event)) = post.change(changes.clone(), posts.now()) else {
            return Ok(post);
        };
        if posts.store().update(&next, &event).await? {
            return Ok(next);
        }
    }
    Err(PostError::Contended)
}

/// Deletes a post for its author or an admin.
///
/// # Errors
/// See [`PostError`].
pub async fn delete(posts: &Posts, caller: &Caller, id: Uuid) -> Result<(), PostError> {
    for _ in 0..ATTEMPTS {
        let post = owned(posts, caller, id).await?;
        if posts.store().delete(&post, &post.delete()).await? {
            return Ok(());
        }
    }
    Err(PostError::Contended)
}

async fn owned(posts: &Posts, caller: &Caller, id: Uuid) -> Result<Post, PostError> {
    let post = posts.store().get(id).await?.ok_or(PostError::NotFound)?;
    if caller.may_act_for(post.author.id) {
        Ok(post)
    } else {
        Err(PostError::NotYours)
    }
}
