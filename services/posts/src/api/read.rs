//! Reading posts.

use axum::extract::State;
use axum::response::Response;
use blocks::extract::{IfNoneMatch, Listing, Page, ValidQuery, filled};
use blocks::{FieldErrors, Mediator};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{PostView, send};
use crate::Posts;
use crate::domain::{Limits, PostId, Tag};
use crate::error::PostError;
use crate::queries::{GetPost, ListPosts};
use crate::store::Filter;

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
        let tag = self.tag.and_then(filled);
        let tag = tag.map(|tag| Tag::parse(&tag, limits)).transpose();
        Ok(Filter {
            user_id: self.user_id,
            tag: tag.map_err(|why| FieldErrors::one("tag", why))?,
        })
    }
}

/// Lists posts, newest first.
#[utoipa::path(get, path = "/api/posts", operation_id = "posts.list", tag = "posts",
    params(Wanted, Page),
    responses(
        (status = 200, description = "A page of posts.", body = Listing<PostView>),
    ))]
pub(super) async fn list(
    State(posts): State<Posts>,
    ValidQuery(wanted): ValidQuery<Wanted>,
    page: Page,
) -> Result<Response, PostError> {
    let filter = wanted.filter(posts.limits())?;
    posts.ask(ListPosts { filter, page }).await.map(send)
}

/// Shows a post.
#[utoipa::path(get, path = "/api/posts/{id}", operation_id = "posts.get", tag = "posts",
    params(("id" = Uuid, Path, description = "The post's id."), IfNoneMatch),
    responses(
        (status = 200, description = "The post.", body = PostView),
        (status = 404, description = "`post_not_found`: unknown, deleted, or no id of a post."),
    ))]
pub(super) async fn get(
    State(posts): State<Posts>,
    id: PostId,
    seen: IfNoneMatch,
) -> Result<Response, PostError> {
    Ok(seen.answer(posts.ask(GetPost { id }).await?))
}
