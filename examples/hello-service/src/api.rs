//! The endpoints.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use blocks::Caller;
use blocks::extract::{Listing, Page, ValidJson};
use serde::{Deserialize, Serialize};
use sql::Db;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::Note;
use crate::error::NoteError;
use crate::{commands, queries};

/// A note to be left.
#[derive(Debug, Deserialize, ToSchema)]
struct NewNote {
    /// Not blank.
    #[schema(max_length = 1_000, pattern = r"\S")]
    text: String,
}

/// A note.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Note)]
struct NoteView {
    id: String,
    text: String,
    #[schema(format = DateTime)]
    created_at: String,
}

impl From<Note> for NoteView {
    fn from(note: Note) -> Self {
        Self {
            id: note.id.to_string(),
            text: note.text,
            created_at: events::timestamp(note.created_at),
        }
    }
}

pub fn router(db: Db) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .with_state(db)
}

/// Leaves a note for the caller.
#[utoipa::path(post, path = "/api/hello-service", operation_id = "hello-service.create", tag = "hello-service",
    request_body = NewNote, responses((status = 201, description = "It is there.", body = NoteView)))]
#[tracing::instrument(name = "hello-service.create", skip_all, fields(user.id = caller.id))]
async fn create(
    State(db): State<Db>,
    caller: Caller,
    ValidJson(new): ValidJson<NewNote>,
) -> Result<(StatusCode, Json<NoteView>), NoteError> {
    let note = commands::create(&db, &caller, &new.text).await?;
    Ok((StatusCode::CREATED, Json(note.into())))
}

/// Lists the caller's notes, newest first.
#[utoipa::path(get, path = "/api/hello-service", operation_id = "hello-service.list", tag = "hello-service",
    params(Page), responses((status = 200, description = "A page.", body = Listing<NoteView>)))]
#[tracing::instrument(name = "hello-service.list", skip_all, fields(user.id = caller.id))]
async fn list(
    State(db): State<Db>,
    caller: Caller,
    page: Page,
) -> Result<Json<Listing<NoteView>>, NoteError> {
    Ok(Json(
        queries::list(&db, &caller, &page)
            .await?
            .map(NoteView::from),
    ))
}
