//! The queries on posts. They answer what is sent, which the cache keeps.

use blocks::Query;
use blocks::extract::{Keyset, Listing, Page, Tagged};
use bytes::Bytes;

use crate::Posts;
use crate::api::{PostView, encode};
use crate::domain::PostId;
use crate::error::PostError;
use crate::store::Filter;

/// A post, if it exists and was not deleted.
pub struct GetPost {
    pub id: PostId,
}
blocks::operation!(GetPost -> Result<Tagged, PostError>, "posts.get", |it| post.id = %it.id);

impl Query<Posts> for GetPost {
    async fn run(self, on: &Posts) -> Result<Tagged, PostError> {
        let id = self.id.uuid();
        let read = async {
            let post = on.store().get(id).await?.ok_or(PostError::NotFound)?;
            Ok::<_, PostError>(Tagged::json(&PostView::from(post)))
        };
        match on.cache() {
            Some(cache) => cache.post(id, read).await,
            None => read.await,
        }
    }
}

/// A page of posts, newest first.
pub struct ListPosts {
    pub filter: Filter,
    pub page: Page,
}
blocks::operation!(ListPosts -> Result<Bytes, PostError>, "posts.list");

impl Query<Posts> for ListPosts {
    async fn run(self, on: &Posts) -> Result<Bytes, PostError> {
        let is_front = self.page == Page::default() && self.filter == Filter::default();
        let read = newest(on, &self.filter, &self.page);
        match on.cache() {
            Some(cache) if is_front => cache.front(read).await,
            _ => read.await,
        }
    }
}

async fn newest(on: &Posts, filter: &Filter, page: &Page) -> Result<Bytes, PostError> {
    let span = page.span()?;
    let total = on.store().count(filter).await?;
    // Beyond the end, walking over all posts would find nothing.
    let rows = if page.skip >= total {
        Vec::new()
    } else {
        on.store().newest(filter, span).await?
    };
    let listing = Listing::of(rows, total, page, |last| {
        Keyset::new(last.created_at, last.id)
    });
    Ok(encode(&listing.map(PostView::from)))
}
