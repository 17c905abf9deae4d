//! The endpoints.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use blocks::extract::{IdempotencyKey, IfNoneMatch, Listing, Page, Tagged, ValidJson, ValidPath};
use blocks::{Caller, Mediator};
use serde::{Deserialize, Serialize};
use sql::Db;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::commands::LeaveNote;
use crate::domain::Note;
use crate::error::NoteError;
use crate::queries::{ListNotes, ReadNote};

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
        .routes(routes!(read))
        .with_state(db)
}

/// Leaves a note for the caller.
#[utoipa::path(post, path = "/api/hello-service", operation_id = "hello-service.create", tag = "hello-service",
    request_body = NewNote, params(IdempotencyKey), responses((status = 201, description = "It is there.", body = NoteView)))]
async fn create(
    State(db): State<Db>,
    by: Caller,
    key: IdempotencyKey,
    ValidJson(NewNote { text }): ValidJson<NewNote>,
) -> Result<(StatusCode, Json<NoteView>), NoteError> {
    let note = db.send(LeaveNote { by, text, key }).await?;
    Ok((StatusCode::CREATED, Json(note.into())))
}

/// Shows one of the caller's notes.
#[utoipa::path(get, path = "/api/hello-service/{id}", operation_id = "hello-service.read", tag = "hello-service",
    params(("id" = String, Path, description = "The note."), IfNoneMatch), responses(
    (status = 200, description = "The note.", body = NoteView),
    (status = 404, description = "`note_not_found`: unknown, malformed, or somebody else's")))]
async fn read(
    State(db): State<Db>,
    by: Caller,
    ValidPath(id): ValidPath<String>,
    seen: IfNoneMatch,
) -> Result<Response, NoteError> {
    let note = db.ask(ReadNote { by, id }).await?;
    Ok(seen.answer(Tagged::json(&NoteView::from(note))))
}

/// Lists the caller's notes, newest first.
#[utoipa::path(get, path = "/api/hello-service", operation_id = "hello-service.list", tag = "hello-service",
    params(Page), responses((status = 200, description = "A page.", body = Listing<NoteView>)))]
async fn list(
    State(db): State<Db>,
    by: Caller,
    page: Page,
) -> Result<Json<Listing<NoteView>>, NoteError> {
    let notes = db.ask(ListNotes { by, page }).await?;
    Ok(Json(notes.map(NoteView::from)))
}
