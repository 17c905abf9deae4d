//! Reading posts.

use axum::extract::State;
use axum::response::Response;
use blocks::FieldErrors;
use blocks::extract::{IfNoneMatch, Listing, Page, Tagged, ValidQuery, filled};
use bytes::Bytes;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{PostId, PostView, encode, send};
use crate::domain::{Limits, check_tag, normalise};
use crate::error::PostError;
use crate::store::Filter;
use crate::{Posts, queries};

/// Which posts.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Only those of this author.
    user_id: Option<i64>,
    /// Only those with this tag, however it is spelled; a blank one is none.
    #[param(max_length = 50)]
    tag: Option<String>,
}

impl Wanted {
    fn filter(self, limits: &Limits) -> Result<Filter, FieldErrors> {
        let tag = self.tag.and_then(filled).map(|tag| normalise(&tag));
        let mut errors = FieldErrors::default();
        if let Some(tag) = &tag {
            check_tag("tag", tag, limits, &mut errors);
        }
        errors.into_result()?;
        Ok(Filter {
            user_id: self.user_id,
            tag,
        })
    }
}

/// Lists posts, newest first.
#[utoipa::path(get, path = "/api/posts", operation_id = "posts.list", tag = "posts",
    params(Wanted, Page),
    responses(
        (status = 200, description = "A page of posts.", body = Listing<PostView>),
    ))]
#[tracing::instrument(name = "posts.list", level = "debug", skip_all)]
pub(super) async fn list(
    State(posts): State<Posts>,
    ValidQuery(wanted): ValidQuery<Wanted>,
    page: Page,
) -> Result<Response, PostError> {
    let filter = wanted.filter(posts.limits())?;
    let front = page == Page::default() && filter == Filter::default();
    let read = page_body(&posts, &filter, &page);
    let body = match posts.cache() {
        Some(cache) if front => cache.front(read).await?,
        _ => read.await?,
    };
    Ok(send(body))
}

async fn page_body(posts: &Posts, filter: &Filter, page: &Page) -> Result<Bytes, PostError> {
    let listing = queries::newest(posts, filter, page).await?;
    Ok(encode(&listing.map(PostView::from)))
}

/// Shows a post.
#[utoipa::path(get, path = "/api/posts/{id}", operation_id = "posts.get", tag = "posts",
    params(("id" = Uuid, Path, description = "The post's id."), IfNoneMatch),
    responses(
        (status = 200, description = "The post.", body = PostView),
        (status = 404, description = "`post_not_found`: unknown, deleted, or no id of a post."),
    ))]
#[tracing::instrument(name = "posts.get", level = "debug", skip_all, fields(post.id = %id))]
pub(super) async fn get(
    State(posts): State<Posts>,
    PostId(id): PostId,
    seen: IfNoneMatch,
) -> Result<Response, PostError> {
    let read = async {
        let post = queries::get(&posts, id).await?;
        Ok::<_, PostError>(Tagged::json(&PostView::from(post)))
    };
    let post = match posts.cache() {
        Some(cache) => cache.post(id, read).await?,
        None => read.await?,
    };
    Ok(seen.answer(post))
}
