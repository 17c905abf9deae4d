//! A request that may be sent twice and is done once: the header `Idempotency-Key`.

use axum::extract::FromRequestParts;
use chrono::TimeDelta;
use http::StatusCode;
use http::request::Parts;
use ring::digest::{SHA256, digest};
use serde::Serialize;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};

use super::parameter;
use crate::problem::{AsProblem, FieldErrors, Problem};

/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 255;

const HEADER: &str = "Idempotency-Key";

/// The client's own name for a request: 1 to 255 visible ASCII characters, otherwise 400 naming the header.
/// Handlers store the key in the same write as the effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(pub Option<String>);

impl IdempotencyKey {
    /// The request for `what` under this key; `None` without a key.
    pub fn request(self, what: &impl Serialize) -> Option<KeyedRequest> {
        self.0.map(|key| KeyedRequest::new(key, what))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(HEADER).iter();
        let Some(value) = values.next() else {
            return Ok(Self(None));
        };
        let refuse = |why: String| Problem::validation(FieldErrors::one(HEADER, why));
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

impl IntoParams for IdempotencyKey {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(MAX_KEY_BYTES))
            .pattern(Some("^[!-~]+$"));
        let about = "Your own name for this request: sent again within 24 hours, it is answered as before \
                     and does nothing.";
        vec![parameter(HEADER, ParameterIn::Header, about, schema)]
    }
}

/// A key with the request made under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyedRequest {
    /// The client's key.
    pub key: String,
    /// Tells one request from another without keeping it: SHA-256 in hex.
    pub fingerprint: String,
}

impl KeyedRequest {
    /// For how long a key is remembered.
    pub const KEPT: TimeDelta = TimeDelta::hours(24);

    /// The request for `what` under `key`.
    ///
    /// # Panics
    /// When `what` can't be written as JSON: a programmer's mistake, as it came as JSON.
    pub fn new(key: String, what: &impl Serialize) -> Self {
        let json = serde_json::to_vec(what).expect("what came as JSON can be written as JSON");
        let fingerprint = hex::encode(digest(&SHA256, &json));
        Self { key, fingerprint }
    }
}

/// The reason why a request under a key was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefused {
    /// The key came with another request before.
    #[error("the idempotency key was used for another request")]
    Reused,
    /// The same key is being worked on, and that takes long.
    #[error("a request under the idempotency key is under way")]
    InFlight,
}

impl AsProblem for KeyRefused {
    fn problem(&self) -> Problem {
        match self {
            Self::Reused => Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "this Idempotency-Key came with another request before; use a new one",
            ),
            Self::InFlight => Problem::conflict(
                "idempotency_key_in_flight",
                "a request under this Idempotency-Key is under way; send it again shortly",
            )
            .retry_after(1),
        }
    }
}
