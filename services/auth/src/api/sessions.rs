//! The endpoints for logging in and out, for refreshing, and for one's sessions.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use blocks::extract::{Listing, NoBody, Page, ValidJson, ValidPath};
use blocks::{Caller, Mediator};
use http::header::CACHE_CONTROL;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Done, Ended};
use crate::Auth;
use crate::client::Client;
use crate::commands::{EndSession, EndSessions, LogIn, LogOut, LoggedIn, Refresh};
use crate::domain::Login;
use crate::error::AuthError;
use crate::queries::ListSessions;

/// A login, by `email` or by `username`; a blank one counts as absent.
#[derive(Deserialize, ToSchema)]
pub(super) struct LoginRequest {
    /// The account's address; blanks around it are dropped.
    #[schema(
        example = "ada@example.org",
        nullable = false,
        extensions(("x-object-schema" = json!({"oneOf": [
            {
                "required": ["email"],
                "properties": {"email": {"pattern": r"\S"}, "username": {"pattern": r"^\s*$"}},
            },
            {
                "required": ["username"],
                "properties": {"email": {"pattern": r"^\s*$"}, "username": {"pattern": r"\S"}},
            },
        ]})))
    )]
    email: Option<String>,
    /// The account's name.
    #[schema(nullable = false)]
    username: Option<String>,
    /// The account's password.
    #[schema(
        example = "correct horse battery",
        min_length = 1,
        max_length = 1024,
        // A character has up to four bytes.
        extensions(("x-schema" = json!({"anyOf": [{"maxLength": 256}, {"pattern": "^[\\u0001-\\u007f]*$"}]})))
    )]
    password: String,
}

/// A refresh token, to be exchanged.
#[derive(Deserialize, ToSchema)]
pub(super) struct RefreshRequest {
    /// As a login or the last refresh answered it.
    refresh_token: String,
}

/// A session's tokens.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenView {
    /// For `Authorization: Bearer`.
    access_token: String,
    /// Always `bearer`.
    token_type: &'static str,
    /// In seconds.
    #[schema(example = 86_400)]
    expires_in: i64,
    /// For `POST /api/auth/refresh`, once.
    refresh_token: String,
    /// In seconds.
    #[schema(example = 2_592_000)]
    refresh_expires_in: i64,
}

impl From<LoggedIn> for TokenView {
    fn from(done: LoggedIn) -> Self {
        Self {
            access_token: done.access_token,
            token_type: "bearer",
            expires_in: done.expires_in,
            refresh_token: done.refresh_token,
            refresh_expires_in: done.refresh_expires_in,
        }
    }
}

/// A session.
#[derive(Serialize, ToSchema)]
pub(super) struct SessionView {
    id: Uuid,
    /// True for the session of this request.
    current: bool,
    /// The device: the client's `User-Agent`, shortened to 200 characters.
    user_agent: Option<String>,
    /// The client's address at login or at the last refresh.
    address: Option<String>,
    /// When it began: RFC 3339.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it last got a token, by login or refresh: RFC 3339.
    #[schema(format = DateTime)]
    last_used_at: String,
    /// When it ends by itself unless it is refreshed: RFC 3339.
    #[schema(format = DateTime)]
    expires_at: String,
}

/// Logs in by e-mail address or by name.
#[utoipa::path(
    post, path = "/api/auth/login", operation_id = "auth.login", tag = "auth",
    request_body = LoginRequest,
    responses(
        (status = 200, description = "logged in", body = TokenView),
        (status = 401, description = "`bad_credentials`: the account or the password, it is not told which"),
        (status = 403, description = "`account_inactive`: the password is right, and nobody can log in; `email_unverified`: the same, until the address is verified"),
        (status = 429, description = "`too_many_attempts`: too many wrong passwords for this account, existing or not"),
        (status = 503, description = "`busy`: too many at once"),
    )
)]
pub(super) async fn login(
    State(auth): State<Auth>,
    client: Client,
    ValidJson(request): ValidJson<LoginRequest>,
) -> Result<impl IntoResponse, AuthError> {
    let login = Login::of(request.email, request.username)?;
    let command = LogIn {
        login,
        password: request.password,
        client,
    };
    Ok(logged_in(auth.send(command).await?))
}

/// Exchanges a refresh token for new tokens of the same session.
///
/// A token is exchanged once. Within ten seconds it gets the same successor again, for answers that were lost and tabs
/// that race, while that successor is unused. Shown later it ends the session: somebody else may have it.
#[utoipa::path(
    post, path = "/api/auth/refresh", operation_id = "auth.refresh", tag = "auth",
    request_body = RefreshRequest,
    responses(
        (status = 200, description = "exchanged", body = TokenView),
        (status = 401, description = "`invalid_refresh_token`: none, expired, exchanged before, or of an ended session; it is not told which"),
        (status = 403, description = "`account_inactive`: nobody can log in"),
    )
)]
pub(super) async fn refresh(
    State(auth): State<Auth>,
    client: Client,
    ValidJson(RefreshRequest {
        refresh_token: token,
    }): ValidJson<RefreshRequest>,
) -> Result<impl IntoResponse, AuthError> {
    Ok(logged_in(auth.send(Refresh { token, client }).await?))
}

/// The answer to a login, however it was proven.
pub(super) fn logged_in(done: LoggedIn) -> impl IntoResponse + use<> {
    ([(CACHE_CONTROL, "no-store")], Json(TokenView::from(done)))
}

/// Ends the session of this token. The token is refused from the answer on.
#[utoipa::path(
    post, path = "/api/auth/logout", operation_id = "auth.logout", tag = "auth",
    responses(
        (status = 200, description = "logged out", body = Done),
    )
)]
pub(super) async fn logout(
    State(auth): State<Auth>,
    by: Caller,
    _: NoBody,
) -> Result<Json<Done>, AuthError> {
    auth.send(LogOut { by }).await?;
    Ok(Json(Done {
        message: "Logged out successfully",
    }))
}

/// Lists the caller's live sessions, newest first.
#[utoipa::path(
    get, path = "/api/auth/sessions", operation_id = "auth.sessions", tag = "auth",
    params(Page),
    responses(
        (status = 200, description = "the sessions", body = Listing<SessionView>),
    )
)]
pub(super) async fn list(
    State(auth): State<Auth>,
    by: Caller,
    page: Page,
) -> Result<Json<Listing<SessionView>>, AuthError> {
    let current = by.session;
    let found = auth.ask(ListSessions { by, page }).await?;
    let view = |session: crate::store::SessionRow| SessionView {
        id: session.id,
        current: session.id == current,
        user_agent: session.user_agent,
        address: session.address,
        created_at: events::timestamp(session.created_at),
        last_used_at: events::timestamp(session.last_used_at),
        expires_at: events::timestamp(session.expires_at),
    };
    Ok(Json(found.map(view)))
}

/// Ends one of the caller's sessions. Its token is refused from the answer on.
#[utoipa::path(
    delete, path = "/api/auth/sessions/{id}", operation_id = "auth.end_session", tag = "auth",
    params(("id" = Uuid, Path, description = "the session")),
    responses(
        (status = 200, description = "ended", body = Done),
        (status = 404, description = "`session_not_found`: none that lives, or not yours"),
    )
)]
pub(super) async fn end(
    State(auth): State<Auth>,
    by: Caller,
    ValidPath(id): ValidPath<String>,
    _: NoBody,
) -> Result<Json<Done>, AuthError> {
    // Parsed here and not by the extractor: a malformed id means a session that does not exist.
    let session = Uuid::try_parse(&id).map_err(|_| AuthError::NoSession)?;
    auth.send(EndSession { by, session }).await?;
    Ok(Json(Done {
        message: "Session ended successfully",
    }))
}

/// Ends the caller's sessions but that of this request.
#[utoipa::path(
    post, path = "/api/auth/sessions/revoke-others", operation_id = "auth.end_other_sessions", tag = "auth",
    responses(
        (status = 200, description = "ended", body = Ended),
    )
)]
pub(super) async fn end_others(
    State(auth): State<Auth>,
    by: Caller,
    _: NoBody,
) -> Result<Json<Ended>, AuthError> {
    let (user_id, but) = (by.id, Some(by.session));
    let ended = auth.send(EndSessions { user_id, but }).await?;
    Ok(Json(Ended {
        message: "Other sessions ended successfully",
        ended,
    }))
}
