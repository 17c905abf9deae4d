//! The forms of requests and answers.

use std::borrow::Cow;

use blocks::extract::Patch;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::openapi::schema::{AnyOfBuilder, Schema};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::{Preferences, Profile, Request};

/// The fields of a profile. All are optional: absent ones stay as they are; null, or a blank text,
/// clears.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ProfileRequest {
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 100)]
    pub first_name: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 100)]
    pub last_name: Patch<String>,
    /// Date of birth: `YYYY-MM-DD`, not before 1900, not in the future.
    #[serde(default)]
    #[schema(
        value_type = Option<String>,
        example = "1990-05-17",
        extensions(("x-schema" = json!({"anyOf": [
            {"format": "date", "pattern": "^(19|[2-9][0-9])"}, {"maxLength": 0}, {"type": "null"}
        ]})))
    )]
    pub dob: Patch<String>,
    /// Street and number.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 300)]
    pub address: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 100)]
    pub city: Patch<String>,
    /// State or region.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 100)]
    pub state: Patch<String>,
    /// Postal code.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 20)]
    pub zip_code: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 100)]
    pub country: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 32)]
    pub phone: Patch<String>,
    /// About oneself.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 2000)]
    pub bio: Patch<String>,
    /// Any JSON value of up to 16 KiB and 64 levels, given back as it came.
    #[serde(default)]
    #[schema(value_type = Option<serde_json::Value>)]
    pub preferences: Patch<Box<RawValue>>,
}

impl From<ProfileRequest> for Request {
    fn from(request: ProfileRequest) -> Self {
        Self {
            first_name: request.first_name,
            last_name: request.last_name,
            dob: request.dob,
            address: request.address,
            city: request.city,
            state: request.state,
            zip_code: request.zip_code,
            country: request.country,
            phone: request.phone,
            bio: request.bio,
            preferences: request.preferences,
        }
    }
}

/// A profile as its owner sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProfileView {
    /// The profile's own number.
    pub id: i64,
    /// The account that it belongs to.
    pub user_id: i64,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    /// Date of birth: `YYYY-MM-DD`.
    #[schema(format = Date)]
    pub dob: Option<String>,
    /// Street and number.
    pub address: Option<String>,
    pub city: Option<String>,
    /// State or region.
    pub state: Option<String>,
    /// Postal code.
    pub zip_code: Option<String>,
    pub country: Option<String>,
    pub phone: Option<String>,
    /// About oneself.
    pub bio: Option<String>,
    /// As it came.
    #[schema(value_type = Option<serde_json::Value>)]
    pub preferences: Option<Preferences>,
    /// RFC 3339 UTC with milliseconds.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// RFC 3339 UTC with milliseconds.
    #[schema(format = DateTime)]
    pub updated_at: String,
}

/// A profile as others see it: without date of birth, address, postal code, phone number and
/// preferences.
#[derive(Debug, Serialize, ToSchema)]
pub struct PublicProfileView {
    /// The profile's own number.
    pub id: i64,
    /// The account that it belongs to.
    pub user_id: i64,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub city: Option<String>,
    /// State or region.
    pub state: Option<String>,
    pub country: Option<String>,
    /// About oneself.
    pub bio: Option<String>,
    /// RFC 3339 UTC with milliseconds.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// RFC 3339 UTC with milliseconds.
    #[schema(format = DateTime)]
    pub updated_at: String,
}

/// A profile as the caller may see it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum VisibleProfile {
    /// The caller's own.
    Own(ProfileView),
    /// Somebody else's.
    Other(PublicProfileView),
}

// By hand: derived, it would be `oneOf`, but a whole profile also matches the public part.
impl PartialSchema for VisibleProfile {
    fn schema() -> RefOr<Schema> {
        AnyOfBuilder::new()
            .item(Ref::from_schema_name(ProfileView::name()))
            .item(Ref::from_schema_name(PublicProfileView::name()))
            .description(Some(
                "A profile as the caller may see it: all of their own.",
            ))
            .into()
    }
}

impl ToSchema for VisibleProfile {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("VisibleProfile")
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((ProfileView::name().into(), ProfileView::schema()));
        schemas.push((
            PublicProfileView::name().into(),
            PublicProfileView::schema(),
        ));
        ProfileView::schemas(schemas);
        PublicProfileView::schemas(schemas);
    }
}

impl From<Profile> for ProfileView {
    fn from(profile: Profile) -> Self {
        let fields = profile.fields;
        Self {
            id: profile.id,
            user_id: profile.user_id,
            first_name: fields.first_name,
            last_name: fields.last_name,
            dob: fields.dob.map(|dob| dob.to_string()),
            address: fields.address,
            city: fields.city,
            state: fields.state,
            zip_code: fields.zip_code,
            country: fields.country,
            phone: fields.phone,
            bio: fields.bio,
            preferences: fields.preferences,
            created_at: events::timestamp(profile.created_at),
            updated_at: events::timestamp(profile.updated_at),
        }
    }
}

impl From<Profile> for PublicProfileView {
    /// Field by field: a new one is hidden until somebody decides.
    fn from(profile: Profile) -> Self {
        let fields = profile.fields;
        Self {
            id: profile.id,
            user_id: profile.user_id,
            first_name: fields.first_name,
            last_name: fields.last_name,
            city: fields.city,
            state: fields.state,
            country: fields.country,
            bio: fields.bio,
            created_at: events::timestamp(profile.created_at),
            updated_at: events::timestamp(profile.updated_at),
        }
    }
}

/// The answer when there is nothing to show.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProfileDeletion)]
pub struct Message {
    /// For people.
    #[schema(example = "Profile deleted successfully")]
    pub message: &'static str,
}
