//! Writing posts.

use axum::Json;
use axum::extract::State;
use blocks::extract::{IdempotencyKey, NoBody, ValidJson};
use blocks::{Caller, FieldErrors, Mediator};
use http::StatusCode;

use super::{ChangedPost, Message, NewPost, PostView};
use crate::Posts;
use crate::commands::{CreatePost, DeletePost, UpdatePost};
use crate::domain::{Changes, Draft, PostId};
use crate::error::PostError;

/// Publishes a post as the caller.
#[utoipa::path(post, path = "/api/posts", operation_id = "posts.create", tag = "posts",
    request_body = NewPost,
    params(IdempotencyKey),
    responses(
        (status = 201, description = "It is published.", body = PostView),
        (status = 403, description = "`account_deleted`"),
    ))]
pub(super) async fn create(
    State(posts): State<Posts>,
    by: Caller,
    key: IdempotencyKey,
    ValidJson(new): ValidJson<NewPost>,
) -> Result<(StatusCode, Json<PostView>), PostError> {
    let draft = Draft::new(&new.title, new.content, &new.tags, posts.limits())?;
    let post = posts.send(CreatePost { by, draft, key }).await?;
    Ok((StatusCode::CREATED, Json(post.into())))
}

/// Changes a post: any subset of its fields.
#[utoipa::path(put, path = "/api/posts/{id}", operation_id = "posts.update", tag = "posts",
    params(("id" = Uuid, Path, description = "The post's id.")),
    request_body = ChangedPost,
    responses(
        (status = 200, description = "The post as it is now.", body = PostView),
        (status = 403, description = "`forbidden`: it is somebody else's."),
        (status = 404, description = "`post_not_found`"),
        (status = 409, description = "`post_contended`: others keep changing it."),
    ))]
pub(super) async fn update(
    State(posts): State<Posts>,
    id: PostId,
    by: Caller,
    ValidJson(wanted): ValidJson<ChangedPost>,
) -> Result<Json<PostView>, PostError> {
    let mut errors = FieldErrors::default();
    let title = wanted.title.required("title", &mut errors);
    let content = wanted.content.required("content", &mut errors);
    let tags = wanted.tags.required("tags", &mut errors);
    let changes = Changes::new(title, content, tags, posts.limits(), errors)?;
    let post = posts.send(UpdatePost { by, id, changes }).await?;
    Ok(Json(post.into()))
}

/// Deletes a post.
#[utoipa::path(delete, path = "/api/posts/{id}", operation_id = "posts.delete", tag = "posts",
    params(("id" = Uuid, Path, description = "The post's id.")),
    responses(
        (status = 200, description = "It is gone.", body = Message),
        (status = 403, description = "`forbidden`: it is somebody else's."),
        (status = 404, description = "`post_not_found`"),
    ))]
pub(super) async fn delete(
    State(posts): State<Posts>,
    id: PostId,
    by: Caller,
    _: NoBody,
) -> Result<Json<Message>, PostError> {
    posts.send(DeletePost { by, id }).await?;
    Ok(Json(Message {
        message: "Post deleted successfully",
    }))
}
