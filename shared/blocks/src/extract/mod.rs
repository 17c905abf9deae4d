//! Checked inputs of handlers. Any fault in the input is answered by a problem that names the field or the
//! parameter; never by a plain text or a 5xx.

mod caller;
mod client;
mod etag;
mod fields;
mod idempotency;
mod json;
mod keyset;
mod page;
mod patch;
mod path;
mod query;
mod whole;

use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::ObjectBuilder;

pub use caller::Admin;
pub use client::ClientAddress;
pub use etag::{IfNoneMatch, Tagged};
pub use idempotency::{IdempotencyKey, KeyRefused, KeyedRequest, MAX_KEY_BYTES};
pub(crate) use json::{BodyLimit, too_large};
pub use json::{DEFAULT_BODY_LIMIT, NoBody, ValidJson, parse};
pub use keyset::{Keyset, Span};
pub use page::{COUNTED_ROWS, Cursor, Listing, MAX_LIMIT, MAX_SKIP, MAX_TOTAL, Page};
pub use patch::Patch;
pub use path::ValidPath;
pub use query::ValidQuery;
pub(crate) use query::parameters;
pub use whole::Whole;

/// The documentation of an optional parameter.
fn parameter(
    name: &str,
    place: ParameterIn,
    description: &str,
    schema: ObjectBuilder,
) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .description(Some(description))
        .schema(Some(schema))
        .build()
}

/// The message about a name that is not among `known`.
pub(crate) fn unknown<S: std::borrow::Borrow<str>>(known: &[S]) -> String {
    if known.is_empty() {
        return "is unknown here".into();
    }
    format!("is unknown; known here: {}", known.join(", "))
}

/// The text, unless it is blank: forms send an optional text that was left out as an empty one.
pub fn filled(text: String) -> Option<String> {
    Some(text).filter(|text| !text.trim().is_empty())
}

/// serde's message, without the position and without its name for what we expect.
fn plain(message: &str) -> String {
    let message = message
        .rsplit_once(" at line ")
        .map_or(message, |(text, _)| text);
    if message.starts_with("invalid type: null") {
        return "must not be null".into();
    }
    for (start, said) in [
        ("missing field", "is required"),
        ("duplicate field", "is given twice"),
        ("invalid digit found in string", "must be an integer"),
        ("cannot parse integer", "must be an integer"),
        ("number too", "is too large or too small"),
        (
            "provided string was not `true` or `false`",
            "must be true or false",
        ),
    ] {
        if message.starts_with(start) {
            return said.into();
        }
    }
    message.into()
}

/// The field that a serde message is about: where it happened and, for a missing or a doubled one,
/// the name in the message.
fn field(path: &serde_path_to_error::Path, message: &str, root: &str) -> String {
    let named = ["missing field `", "duplicate field `", "unknown field `"]
        .iter()
        .find_map(|start| message.strip_prefix(start))
        .and_then(|rest| rest.split_once('`'))
        .map(|(name, _)| name);
    let mut parts: Vec<String> = Vec::new();
    for segment in path {
        match segment {
            serde_path_to_error::Segment::Map { key } => parts.push(key.clone()),
            serde_path_to_error::Segment::Seq { index } => match parts.last_mut() {
                Some(last) => {
                    last.push('[');
                    last.push_str(&index.to_string());
                    last.push(']');
                }
                None => parts.push(format!("[{index}]")),
            },
            serde_path_to_error::Segment::Enum { variant } => parts.push(variant.clone()),
            serde_path_to_error::Segment::Unknown => {}
        }
    }
    // A doubled field is reported at its own path, a missing one at its parent's.
    if let Some(name) = named
        && parts.last().is_none_or(|last| last != name)
    {
        parts.push(name.to_owned());
    }
    if parts.is_empty() {
        return root.to_owned();
    }
    parts.join(".")
}
