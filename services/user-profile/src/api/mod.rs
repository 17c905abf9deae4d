//! Routes and handlers.

mod views;

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::response::Response;
use blocks::extract::{IdempotencyKey, IfNoneMatch, NoBody, Tagged, ValidJson};
use blocks::{Caller, Mediator};
use http::StatusCode;
use http::request::Parts;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use views::{Message, ProfileRequest, ProfileView, PublicProfileView, VisibleProfile};

use crate::Profiles;
use crate::commands::{CreateProfile, DeleteProfile, UpdateProfile};
use crate::error::ProfileError;
use crate::queries::ReadProfile;

/// The endpoints with their documentation.
pub fn router(profiles: Profiles) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(own, create, update, delete))
        .routes(routes!(of_user))
        .with_state(profiles)
}

/// The account that the path names. A text that is no id names no account: 404.
struct UserId(i64);

impl<S: Send + Sync> FromRequestParts<S> for UserId {
    type Rejection = ProfileError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ProfileError> {
        let Ok(Path(text)) = Path::<String>::from_request_parts(parts, state).await else {
            return Err(ProfileError::NotFound);
        };
        // The parser also takes a plus sign and leading zeros, which are no addresses of ours.
        text.parse::<i64>()
            .ok()
            .filter(|id| id.to_string() == text)
            .map(Self)
            .ok_or(ProfileError::NotFound)
    }
}

/// Writes the caller's profile for the first time.
#[utoipa::path(post, path = "/api/profile", operation_id = "profile.create", tag = "profile",
    request_body = ProfileRequest,
    params(IdempotencyKey),
    responses(
        (status = 201, description = "It is written.", body = ProfileView),
        (status = 400, description = "`profile_exists`"),
        (status = 403, description = "`account_deleted`"),
    ))]
async fn create(
    State(profiles): State<Profiles>,
    by: Caller,
    key: IdempotencyKey,
    ValidJson(request): ValidJson<ProfileRequest>,
) -> Result<(StatusCode, Json<ProfileView>), ProfileError> {
    let request = request.into();
    let profile = profiles.send(CreateProfile { by, request, key }).await?;
    Ok((StatusCode::CREATED, Json(profile.into())))
}

/// Shows the caller's own profile.
#[utoipa::path(get, path = "/api/profile", operation_id = "profile.own", tag = "profile",
    params(IfNoneMatch),
    responses(
        (status = 200, description = "The profile.", body = ProfileView),
        (status = 404, description = "`profile_not_found`"),
    ))]
async fn own(
    State(profiles): State<Profiles>,
    by: Caller,
    seen: IfNoneMatch,
) -> Result<Response, ProfileError> {
    let user_id = by.id;
    let profile = profiles.ask(ReadProfile { by, user_id }).await?;
    Ok(seen.answer(Tagged::json(&ProfileView::from(profile))))
}

/// Changes the caller's profile: any subset of its fields; null or a blank text clears.
#[utoipa::path(put, path = "/api/profile", operation_id = "profile.update", tag = "profile",
    request_body = ProfileRequest,
    responses(
        (status = 200, description = "The profile as it is now.", body = ProfileView),
        (status = 404, description = "`profile_not_found`"),
    ))]
async fn update(
    State(profiles): State<Profiles>,
    by: Caller,
    ValidJson(request): ValidJson<ProfileRequest>,
) -> Result<Json<ProfileView>, ProfileError> {
    let request = request.into();
    let profile = profiles.send(UpdateProfile { by, request }).await?;
    Ok(Json(profile.into()))
}

/// Deletes the caller's profile.
#[utoipa::path(delete, path = "/api/profile", operation_id = "profile.delete", tag = "profile",
    responses(
        (status = 200, description = "It is gone.", body = Message),
        (status = 404, description = "`profile_not_found`"),
    ))]
async fn delete(
    State(profiles): State<Profiles>,
    by: Caller,
    _: NoBody,
) -> Result<Json<Message>, ProfileError> {
    profiles.send(DeleteProfile { by }).await?;
    Ok(Json(Message {
        message: "Profile deleted successfully",
    }))
}

/// Shows the profile of an account: all of it to its owner, the public part to others.
#[utoipa::path(get, path = "/api/profile/{user_id}", operation_id = "profile.of_user",
    tag = "profile",
    params(("user_id" = i64, Path, description = "The account.", minimum = 1), IfNoneMatch),
    responses(
        (status = 200, description = "The profile, as far as the caller may see it.",
            body = VisibleProfile),
        (status = 404, description = "`profile_not_found`: unknown, or no id of an account."),
    ))]
async fn of_user(
    State(profiles): State<Profiles>,
    UserId(user_id): UserId,
    by: Caller,
    seen: IfNoneMatch,
) -> Result<Response, ProfileError> {
    // Private fields stay hidden from admins, too: nothing they do needs them.
    let is_own = by.id == user_id;
    let profile = profiles.ask(ReadProfile { by, user_id }).await?;
    let visible = if is_own {
        VisibleProfile::Own(profile.into())
    } else {
        VisibleProfile::Other(profile.into())
    };
    Ok(seen.answer(Tagged::json(&visible)))
}
