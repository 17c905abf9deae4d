//! Writing posts.

use axum::Json;
use axum::extract::State;
use blocks::extract::{IdempotencyKey, NoBody, ValidJson};
use blocks::{Caller, FieldErrors};
use http::StatusCode;

use super::{ChangedPost, Message, NewPost, PostId, PostView};
use crate::domain::{Changes, Draft};
use crate::error::PostError;
use crate::{Posts, commands};

/// Publishes a post as the caller.
#[utoipa::path(post, path = "/api/posts", operation_id = "posts.create", tag = "posts",
    request_body = NewPost,
    params(IdempotencyKey),
    responses(
        (status = 201, description = "It is published.", body = PostView),
        (status = 403, description = "`account_deleted`"),
    ))]
#[tracing::instrument(name = "posts.create", level = "debug", skip_all, fields(user.id = caller.id))]
pub(super) async fn create(
    State(posts): State<Posts>,
    caller: Caller,
    key: IdempotencyKey,
    ValidJson(new): ValidJson<NewPost>,
) -> Result<(StatusCode, Json<PostView>), PostError> {
    let draft = Draft::new(&new.title, new.content, &new.tags, posts.limits())?;
    let post = commands::create(&posts, &caller, draft, key).await?;
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
#[tracing::instrument(name = "posts.update", level = "debug", skip_all, fields(user.id = caller.id, post.id = %id))]
pub(super) async fn update(
    State(posts): State<Posts>,
    PostId(id): PostId,
    caller: Caller,
    ValidJson(wanted): ValidJson<ChangedPost>,
) -> Result<Json<PostView>, PostError> {
    let mut errors = FieldErrors::default();
    let title = wanted.title.required("title", &mut errors);
    let content = wanted.content.required("content", &mut errors);
    let tags = wanted.tags.required("tags", &mut errors);
    let changes = Changes::new(title, content, tags, posts.limits(), errors)?;
    let post = commands::update(&posts, &caller, id, changes).await?;
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
#[tracing::instrument(name = "posts.delete", level = "debug", skip_all, fields(user.id = caller.id, post.id = %id))]
pub(super) async fn delete(
    State(posts): State<Posts>,
    PostId(id): PostId,
    caller: Caller,
    _: NoBody,
) -> Result<Json<Message>, PostError> {
    commands::delete(&posts, &caller, id).await?;
    Ok(Json(Message {
        message: "Post deleted successfully",
    }))
}
