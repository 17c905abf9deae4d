//! A request that may be sent twice and is done once: the header `Idempotency-Key`.

use axum::extract::FromRequestParts;
use blocks::{FieldErrors, Problem};
use chrono::TimeDelta;
use http::request::Parts;
use ring::digest::{SHA256, digest};

use crate::domain::Draft;

/// For how long a key is remembered.
pub const KEPT: TimeDelta = TimeDelta::hours(24);
/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 255;

const HEADER: &str = "idempotency-key";

/// The client's own name for a request, from the header `Idempotency-Key`: 1 to 255 visible ASCII
/// characters, otherwise 400 naming the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(pub Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(HEADER).iter();
        let Some(value) = values.next() else {
            return Ok(Self(None));
        };
        let refuse = |why: String| Problem::validation(FieldErrors::one("Idempotency-Key", why));
        if values.next().is_some() {
            return Err(refuse("is given twice".into()));
        }
        let bytes = value.as_bytes();
        if !(1..=MAX_KEY_BYTES).contains(&bytes.len()) || !bytes.iter().all(u8::is_ascii_graphic) {
            return Err(refuse(format!(
                "must be 1 to {MAX_KEY_BYTES} visible ASCII characters"
            )));
        }
        Ok(Self(Some(String::from_utf8_lossy(bytes).into_owned())))
    }
}

/// A key with what was asked for under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyedRequest {
    /// The client's key.
    pub key: String,
    /// Tells one request from another without keeping it.
    pub fingerprint: String,
}

impl KeyedRequest {
    /// The request to publish `draft` under `key`.
    ///
    /// # Panics
    /// Never: texts are always JSON.
    pub fn new(key: String, draft: &Draft) -> Self {
        let json = serde_json::to_vec(&draft.parts()).expect("texts are always JSON");
        let fingerprint = hex::encode(digest(&SHA256, &json));
        Self { key, fingerprint }
    }
}
