//! A JSON body, parsed and checked.

use std::cell::LazyCell;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_ignored::Path;
use serde_json::error::Category;
use serde_path_to_error::Track;

use super::fields;
use crate::context;
use crate::problem::{FieldErrors, Problem};

/// How much of a body is read where no kit set another limit: 1 MiB.
pub const DEFAULT_BODY_LIMIT: usize = 1 << 20;

/// How much of a body is read; put into the request by the kit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimit(pub usize);

/// A JSON body as a `T`.
///
/// | what comes | answer |
/// |---|---|
/// | another content type, or a packed body | 415 `unsupported_media_type` |
/// | nothing for too long | 408 `body_timeout`, by the kit |
/// | more than the limit | 413 `body_too_large` |
/// | no JSON, or nested too deeply | 400 `malformed_json` |
/// | a wrong type, a missing field, a null, a doubled key | 400 `validation_failed`, naming the field |
/// | fields that `T` does not read | 400 `validation_failed`, naming each |
/// | a NUL character in any string | 400 `validation_failed`, naming the field |
#[derive(Debug, Clone, Copy)]
pub struct ValidJson<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for ValidJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let unsupported = |detail: &'static str| {
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            Err(Problem::new(status, "unsupported_media_type", detail))
        };
        if !is_json(request.headers()) {
            return unsupported("the body must be sent as content-type application/json");
        }
        if is_packed(request.headers()) {
            return unsupported("the body must be sent without a content-encoding");
        }
        parse(&received(request).await?).map(Self)
    }
}

/// The body of an endpoint that takes none: nothing, or `{}`, as some clients send with every request. Fields
/// are refused, each named, so that nobody believes that they had an effect.
#[derive(Debug, Clone, Copy)]
pub struct NoBody;

#[derive(Deserialize)]
struct NoFields {}

impl<S: Send + Sync> FromRequest<S> for NoBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let body = received(request).await?;
        if !body.trim_ascii().is_empty() {
            parse::<NoFields>(&body)?;
        }
        Ok(Self)
    }
}

async fn received(request: Request) -> Result<bytes::Bytes, Problem> {
    let limit = request.extensions().get::<BodyLimit>();
    let limit = limit.map_or(DEFAULT_BODY_LIMIT, |limit| limit.0);
    context::receiving(read(request.into_body(), limit)).await
}

/// The problem of a body over the limit.
pub(crate) fn too_large(limit: usize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_large",
        format!("the body must not be larger than {limit} bytes"),
    )
}

async fn read(body: Body, limit: usize) -> Result<bytes::Bytes, Problem> {
    axum::body::to_bytes(body, limit).await.map_err(|error| {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(inner) = cause {
            if inner.is::<http_body_util::LengthLimitError>() {
                return too_large(limit);
            }
            cause = inner.source();
        }
        Problem::bad_request("body_incomplete", "the body ended before it was complete")
    })
}

fn is_packed(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE);
    let Some(value) = value.and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let mut parts = value.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let json = essence == "application/json"
        || essence
            .strip_prefix("application/")
            .is_some_and(|sub| sub.ends_with("+json"));
    // JSON is UTF-8 (RFC 8259); a client that says otherwise would be misread in silence.
    let utf8 = parts.all(|parameter| {
        parameter.split_once('=').is_none_or(|(name, charset)| {
            !name.trim().eq_ignore_ascii_case("charset")
                || ["utf-8", "utf8"]
                    .iter()
                    .any(|known| charset.trim().trim_matches('"').eq_ignore_ascii_case(known))
        })
    });
    json && utf8
}

/// Reads a JSON object as [`ValidJson`] does.
///
/// # Errors
/// The problem that it answers.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // serde would take an array for a struct, field by field.
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    if first.is_some_and(|byte| *byte != b'{') {
        return Err(match serde_json::from_slice::<IgnoredAny>(bytes) {
            Ok(_) => Problem::validation(FieldErrors::one("body", "must be a JSON object")),
            Err(error) => malformed(&error),
        });
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let mut track = Track::new();
    let mut errors = FieldErrors::default();
    let tracked = serde_path_to_error::Deserializer::new(&mut reader, &mut track);
    let of_body = LazyCell::new(|| super::unknown(fields::names::<T>()));
    let read = serde_ignored::deserialize(tracked, |path| {
        let said = match path {
            Path::Map {
                parent: Path::Root, ..
            } => of_body.clone(),
            _ => super::unknown::<&str>(&[]),
        };
        errors.add(&place(&path), said);
    });
    match read {
        Ok(value) if errors.is_empty() => {
            reader.end().map_err(|error| malformed(&error))?;
            refuse_nul(bytes)?;
            return Ok(value);
        }
        Ok(_) => {}
        Err(error) => {
            let message = error.to_string();
            let too_big = message.starts_with("number out of range");
            if error.classify() != Category::Data && !too_big {
                return Err(malformed(&error));
            }
            let field = super::field(&track.path(), &message, "body");
            errors.add(&field, super::plain(&message));
        }
    }
    Err(errors.into())
}

/// Where something lies: `tags[1].name`.
fn place(path: &Path) -> String {
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", place(parent)),
        Path::Map {
            parent: Path::Root,
            key,
        } => key.clone(),
        Path::Map { parent, key } => format!("{}.{key}", place(parent)),
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => place(parent),
    }
}

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::bad_request("malformed_json", format!("the body is not JSON: {error}"))
}

/// PostgreSQL keeps no NUL in a text, so no string may have one, whatever the store. In JSON it can
/// only stand as an escape: nearly every body is through after one scan.
fn refuse_nul(bytes: &[u8]) -> Result<(), Problem> {
    if !bytes.windows(6).any(|six| six == b"\\u0000") {
        return Ok(());
    }
    let value = serde_json::from_slice(bytes).map_err(|error| malformed(&error))?;
    find_nul(&value, "").map_or(Ok(()), |field| {
        let field = if field.is_empty() { "body" } else { &field };
        Err(Problem::validation(FieldErrors::one(
            field,
            "must not contain a NUL character",
        )))
    })
}

fn find_nul(value: &serde_json::Value, path: &str) -> Option<String> {
    match value {
        serde_json::Value::String(text) => text.contains('\0').then(|| path.to_owned()),
        serde_json::Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| find_nul(item, &format!("{path}[{index}]"))),
        serde_json::Value::Object(fields) => fields.iter().find_map(|(key, value)| {
            if key.contains('\0') {
                return Some(path.to_owned());
            }
            let dot = if path.is_empty() { "" } else { "." };
            find_nul(value, &format!("{path}{dot}{key}"))
        }),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => None,
    }
}
