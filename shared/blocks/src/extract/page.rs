//! Pages of a list: `limit` with `skip`, or with an opaque `cursor` that stays true while rows are
//! added.

use axum::extract::FromRequestParts;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::{IntoParams, ToSchema};

use super::query;
use crate::problem::{FieldErrors, Problem};

const DEFAULT_LIMIT: i64 = 20;
/// The most items of one page.
pub const MAX_LIMIT: i64 = 100;
/// The most items that are passed over: a store walks over each of them, while a cursor leads
/// straight to its place.
pub const MAX_SKIP: i64 = 10_000;
/// Ours have under 200 bytes.
const MAX_CURSOR_BYTES: usize = 1024;

/// Which part of a list is asked for. What is out of range is a 400 that names the parameter, never
/// a silent cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// How many items: 1 to 100, 20 by default.
    pub limit: i64,
    /// How many to pass over first: 0 to 10,000; 0 with a cursor.
    pub skip: i64,
    /// Where the last page ended.
    pub cursor: Option<Cursor>,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            limit: DEFAULT_LIMIT,
            skip: 0,
            cursor: None,
        }
    }
}

impl Page {
    fn parse(query: &str) -> Result<Self, FieldErrors> {
        let mut page = Self::default();
        for (name, value) in query::parameters(query)? {
            match &*name {
                "limit" => page.limit = number("limit", &value, 1, MAX_LIMIT)?,
                "skip" => page.skip = number("skip", &value, 0, MAX_SKIP)?,
                "cursor" if value.is_empty() || value.len() > MAX_CURSOR_BYTES => {
                    return Err(bad_cursor());
                }
                "cursor" => page.cursor = Some(Cursor(value.into_owned())),
                _ => {}
            }
        }
        // Clients made from the documentation send the default along.
        if page.cursor.is_some() && page.skip != 0 {
            return Err(FieldErrors::one(
                "skip",
                "can't be used together with cursor",
            ));
        }
        Ok(page)
    }
}

fn number(name: &str, text: &str, least: i64, most: i64) -> Result<i64, FieldErrors> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(FieldErrors::one(name, "must be a whole number"));
    }
    // Digits that are too many for an i64 are a number out of range, too.
    text.parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| {
            let further = if name == "skip" {
                "; use cursor to go further"
            } else {
                ""
            };
            FieldErrors::one(name, format!("must be between {least} and {most}{further}"))
        })
}

impl<S: Send + Sync> FromRequestParts<S> for Page {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default())?)
    }
}

impl IntoParams for Page {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let integer = || ObjectBuilder::new().schema_type(Type::Integer);
        let parameter = |name: &str, description: &str, schema: ObjectBuilder| {
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Query)
                .description(Some(description))
                .schema(Some(schema))
                .build()
        };
        vec![
            parameter(
                "limit",
                "How many items.",
                integer()
                    .minimum(Some(1))
                    .maximum(Some(MAX_LIMIT))
                    .default(Some(DEFAULT_LIMIT.into())),
            ),
            parameter(
                "skip",
                "How many items to pass over; only 0 together with `cursor`, which leads further.",
                integer()
                    .minimum(Some(0))
                    .maximum(Some(MAX_SKIP))
                    .default(Some(0.into())),
            ),
            parameter(
                "cursor",
                "The `next_cursor` of the page before; stays true while items are added.",
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .min_length(Some(1))
                    .max_length(Some(MAX_CURSOR_BYTES)),
            ),
        ]
    }
}

/// A place in a list, opaque to clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(String);

impl Cursor {
    /// The place of `position`: what the list is ordered by, of the last item.
    ///
    /// # Panics
    /// When `position` can't be written as JSON: a programmer's mistake, as it is made of ids and times.
    pub fn encode<T: Serialize>(position: &T) -> Self {
        let json = serde_json::to_vec(position).expect("a position is made of ids and times");
        Self(URL_SAFE_NO_PAD.encode(json))
    }

    /// The position it stands for.
    ///
    /// # Errors
    /// Names the parameter `cursor` when it is not one of ours.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, FieldErrors> {
        let json = URL_SAFE_NO_PAD.decode(&self.0).map_err(|_| bad_cursor())?;
        // A NUL would reach a statement as a parameter.
        if json.windows(6).any(|six| six == b"\\u0000") {
            return Err(bad_cursor());
        }
        serde_json::from_slice(&json).map_err(|_| bad_cursor())
    }

    /// As it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn bad_cursor() -> FieldErrors {
    FieldErrors::one("cursor", "is not a next_cursor of this list")
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Listing<T> {
    /// The items of this page.
    pub items: Vec<T>,
    /// How many items the whole list has.
    pub total: i64,
    /// The most this page could have.
    pub limit: i64,
    /// How many were passed over.
    pub skip: i64,
    /// Where the next page starts; null on the last one.
    pub next_cursor: Option<String>,
}

impl<T> Listing<T> {
    /// The answer to `page`.
    pub fn new(items: Vec<T>, total: i64, page: &Page, next: Option<Cursor>) -> Self {
        Self {
            items,
            total,
            limit: page.limit,
            skip: page.skip,
            next_cursor: next.map(|cursor| cursor.0),
        }
    }
}
