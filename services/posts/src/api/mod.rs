//! Routes, and the forms of requests and answers.

mod read;
mod write;

use axum::extract::{FromRequestParts, Path};
use axum::response::{IntoResponse, Response};
use blocks::extract::Patch;
use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Array, ArrayBuilder, ObjectBuilder, Type};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::Posts;
use crate::domain::{Limits, Post, PostId, Tag};
use crate::error::PostError;

/// The endpoints with their documentation.
pub fn router(posts: Posts) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(read::list, write::create))
        .routes(routes!(read::get, write::update, write::delete))
        .with_state(posts)
}

/// A post to publish.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NewPost {
    /// Not blank; blanks around it are dropped.
    #[schema(max_length = 200, pattern = r"\S", example = "Hello, world")]
    pub title: String,
    /// Kept exactly as it is written: data, never interpreted.
    #[schema(min_length = 1, max_length = 20_000, example = "My first post.")]
    pub content: String,
    /// Trimmed, lower-cased, duplicates dropped.
    #[serde(default)]
    #[schema(schema_with = tags_schema, required = false)]
    pub tags: Vec<String>,
}

/// What is to become different; what is not mentioned stays. Nothing can be null.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ChangedPost {
    /// Not blank; blanks around it are dropped.
    #[serde(default)]
    #[schema(value_type = String, required = false, max_length = 200, pattern = r"\S")]
    pub title: Patch<String>,
    /// Kept exactly as it is written.
    #[serde(default)]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 20_000)]
    pub content: Patch<String>,
    /// Replaces all tags.
    #[serde(default)]
    #[schema(schema_with = tags_schema, required = false)]
    pub tags: Patch<Vec<String>>,
}

/// What tags are to be: the derive has no words for the limits of a list's items.
fn tags_schema() -> Array {
    let tag = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(r"\S"))
        .max_length(Some(Limits::DEFAULT.tag));
    ArrayBuilder::new()
        .items(tag)
        .max_items(Some(Limits::DEFAULT.tags))
        .description(Some("Trimmed, lower-cased, duplicates dropped."))
        .examples([json!(["rust"])])
        .build()
}

/// A post.
#[derive(Debug, Serialize, ToSchema)]
pub struct PostView {
    /// Its id.
    pub id: Uuid,
    /// Who wrote it.
    pub user_id: i64,
    /// The author's name of now.
    pub username: String,
    /// The title.
    pub title: String,
    /// As it was written.
    pub content: String,
    /// Normalised, in the author's order.
    pub tags: Vec<String>,
    /// RFC 3339 UTC with milliseconds.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// RFC 3339 UTC with milliseconds.
    #[schema(format = DateTime)]
    pub updated_at: String,
}

impl From<Post> for PostView {
    fn from(post: Post) -> Self {
        Self {
            id: post.id,
            user_id: post.author.id,
            username: post.author.name,
            title: post.title,
            content: post.content,
            tags: Tag::texts(&post.tags),
            created_at: events::timestamp(post.created_at),
            updated_at: events::timestamp(post.updated_at),
        }
    }
}

/// What a client is told when there is nothing to show.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PostDeletion)]
pub struct Message {
    /// For people.
    #[schema(example = "Post deleted successfully")]
    pub message: &'static str,
}

// The post that the path names. What can't be the id of a post is the id of none: 404.
impl<S: Send + Sync> FromRequestParts<S> for PostId {
    type Rejection = PostError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, PostError> {
        let Ok(Path(text)) = Path::<String>::from_request_parts(parts, state).await else {
            return Err(PostError::NotFound);
        };
        Self::parse(&text).ok_or(PostError::NotFound)
    }
}

/// A value as the bytes that are sent.
///
/// # Panics
/// Never: views are made of texts and numbers.
pub(crate) fn encode<T: Serialize>(value: &T) -> Bytes {
    serde_json::to_vec(value)
        .expect("texts and numbers are always JSON")
        .into()
}

fn send(body: Bytes) -> Response {
    (
        [(CONTENT_TYPE, HeaderValue::from_static("application/json"))],
        body,
    )
        .into_response()
}
