//! The queries on posts.

use blocks::extract::{Keyset, Listing, Page};
use uuid::Uuid;

use crate::Posts;
use crate::domain::Post;
use crate::error::PostError;
use crate::store::Filter;

/// The post, if it exists and was not deleted.
///
/// # Errors
/// See [`PostError`].
pub async fn get(posts: &Posts, id: Uuid) -> Result<Post, PostError> {
    posts.store().get(id).await?.ok_or(PostError::NotFound)
}

/// A page of posts, newest first.
///
/// # Errors
/// See [`PostError`].
pub async fn newest(
    posts: &Posts,
    filter: &Filter,
    page: &Page,
) -> Result<Listing<Post>, PostError> {
    let after = page.after()?.unwrap_or(Keyset::TOP);
    let total = posts.store().count(filter).await?;
    // Beyond the end, walking over all posts would find nothing.
    let rows = if page.skip >= total {
        Vec::new()
    } else {
        let rows = posts
            .store()
            .newest(filter, after, page.skip, page.rows())
            .await;
        rows?
    };
    Ok(Listing::of(rows, total, page, |last| {
        Keyset::new(last.created_at, last.id)
    }))
}
