//! Pages of a list: `limit` with `skip`, or with an opaque `cursor` that stays true while rows are
//! added.

use axum::extract::FromRequestParts;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::{IntoParams, ToSchema};

use super::{Keyset, Span, parameter, query};
use crate::problem::{FieldErrors, Problem};

const DEFAULT_LIMIT: i64 = 20;
/// The most items of one page.
pub const MAX_LIMIT: i64 = 100;
/// The most items that are passed over: a store walks over each of them, while a cursor leads
/// straight to its place.
pub const MAX_SKIP: i64 = 10_000;
/// The greatest total: no list is counted further, so that a page costs no more in a long list.
pub const MAX_TOTAL: i64 = MAX_SKIP;
/// How many rows a store counts at most: the last one says that there are more than [`MAX_TOTAL`].
pub const COUNTED_ROWS: i64 = MAX_TOTAL + 1;
/// Ours have under 200 bytes.
const MAX_CURSOR_BYTES: usize = 1024;

/// The requested part of a list. A value out of range is a 400 that names the parameter, never a silent
/// cut.
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
    /// The key of the last item before this page; `None` on a first one.
    ///
    /// # Errors
    /// Names the parameter `cursor` when it is not one of ours.
    pub fn after<K: DeserializeOwned>(&self) -> Result<Option<K>, FieldErrors> {
        self.cursor.as_ref().map(Cursor::decode).transpose()
    }

    /// The rows to read of a list that is newest first.
    ///
    /// # Errors
    /// Names the parameter `cursor` when it is not one of ours.
    pub fn span(&self) -> Result<Span, FieldErrors> {
        Ok(Span {
            after: self.after()?.unwrap_or(Keyset::TOP),
            skip: self.skip,
            limit: self.rows(),
        })
    }

    /// Number of rows to read: one more than the page shows, to tell whether there is a next page.
    pub fn rows(&self) -> i64 {
        self.limit + 1
    }

    fn parse(query: &str) -> Result<Self, FieldErrors> {
        let mut page = Self::default();
        for (name, value) in query::parameters(query)? {
            match &*name {
                "limit" => page.limit = number("limit", &value, 1, MAX_LIMIT)?,
                "skip" => page.skip = number("skip", &value, 0, MAX_SKIP)?,
                "cursor" if value.is_empty() || value.len() > MAX_CURSOR_BYTES => {
                    return Err(Cursor::unknown());
                }
                "cursor" => page.cursor = Some(Cursor(value.into_owned())),
                _ => {}
            }
        }
        // Clients made from the documentation send the default along.
        if page.cursor.is_some() && page.skip != 0 {
            let both = "can't be used together with cursor";
            return Err(FieldErrors::one("skip", both));
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
    let number = text.parse().ok();
    let number = number.filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| {
        let further = match name {
            "skip" => "; use cursor to go further",
            _ => "",
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
        let integer = |least: i64, most: i64, usual: i64| {
            let integer = ObjectBuilder::new().schema_type(Type::Integer);
            let integer = integer.minimum(Some(least)).maximum(Some(most));
            integer.default(Some(usual.into()))
        };
        let limit = integer(1, MAX_LIMIT, DEFAULT_LIMIT);
        let skip = integer(0, MAX_SKIP, 0);
        let cursor = ObjectBuilder::new().schema_type(Type::String);
        let cursor = cursor
            .min_length(Some(1))
            .max_length(Some(MAX_CURSOR_BYTES));
        [
            ("limit", "How many items.", limit),
            (
                "skip",
                "How many items to pass over; only 0 together with `cursor`, which leads further.",
                skip,
            ),
            (
                "cursor",
                "The `next_cursor` of the page before; stays true while items are added.",
                cursor,
            ),
        ]
        .map(|(name, about, schema)| parameter(name, ParameterIn::Query, about, schema))
        .into()
    }
}

/// A place in a list, opaque to clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(String);

impl Cursor {
    /// Encodes `position`: the last item's values that the list is ordered by.
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
        let json = URL_SAFE_NO_PAD
            .decode(&self.0)
            .map_err(|_| Self::unknown())?;
        // A NUL would reach a statement as a parameter.
        if json.windows(6).any(|six| six == b"\\u0000") {
            return Err(Self::unknown());
        }
        serde_json::from_slice(&json).map_err(|_| Self::unknown())
    }

    /// The complaint about one that is not of this list.
    pub fn unknown() -> FieldErrors {
        FieldErrors::one("cursor", "is not a next_cursor of this list")
    }

    /// As it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Listing<T> {
    /// The items of this page.
    pub items: Vec<T>,
    /// How many items the whole list has, counted up to 10,000.
    #[schema(minimum = 0, maximum = 10_000)]
    pub total: i64,
    /// True where the list has more items than `total` says; absent otherwise.
    #[serde(skip_serializing_if = "is_false")]
    pub total_is_at_least: bool,
    /// The most this page could have.
    pub limit: i64,
    /// How many were passed over.
    pub skip: i64,
    /// Where the next page starts; null on the last one.
    pub next_cursor: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl<T> Listing<T> {
    /// The answer to `page`, of up to [`Page::rows`] rows with the key of each, in a list with `counted`
    /// rows: up to [`COUNTED_ROWS`].
    pub fn of<K: Serialize>(
        mut rows: Vec<T>,
        counted: i64,
        page: &Page,
        key: impl Fn(&T) -> K,
    ) -> Self {
        let limit = usize::try_from(page.limit).unwrap_or_default();
        let more = rows.len() > limit;
        rows.truncate(limit);
        let last = rows.last().filter(|_| more);
        Self {
            next_cursor: last.map(|last| Cursor::encode(&key(last)).0),
            items: rows,
            total: counted.min(MAX_TOTAL),
            total_is_at_least: counted > MAX_TOTAL,
            limit: page.limit,
            skip: page.skip,
        }
    }

    /// The same page with other items.
    pub fn map<U>(self, each: impl FnMut(T) -> U) -> Listing<U> {
        Listing {
            items: self.items.into_iter().map(each).collect(),
            total: self.total,
            total_is_at_least: self.total_is_at_least,
            limit: self.limit,
            skip: self.skip,
            next_cursor: self.next_cursor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_is_exact_up_to_its_limit_and_then_says_that_it_is_not() {
        let page = Page::default();
        let listing = |counted| Listing::of(vec![7], counted, &page, |last| *last);
        let exact = serde_json::to_value(listing(MAX_TOTAL)).unwrap();
        assert_eq!(exact["total"], 10_000);
        assert!(exact.get("total_is_at_least").is_none());
        let more = serde_json::to_value(listing(COUNTED_ROWS)).unwrap();
        assert_eq!(
            (&more["total"], &more["total_is_at_least"]),
            (&10_000.into(), &true.into())
        );
    }

    #[test]
    fn a_row_too_many_is_not_shown_and_makes_a_next_page() {
        let page = Page {
            limit: 2,
            ..Page::default()
        };
        let listing = |rows| Listing::of(rows, 3, &page, |last| *last);
        let last = listing(vec![9, 8]);
        assert_eq!((last.items, last.next_cursor), (vec![9, 8], None));
        let first = listing(vec![9, 8, 7]).map(|row| row * 10);
        assert_eq!(first.items, [90, 80]);
        let next = Page {
            cursor: first.next_cursor.map(Cursor),
            ..page.clone()
        };
        assert_eq!(next.after().unwrap(), Some(8));
        assert_eq!(page.after::<i64>().unwrap(), None);
    }
}
