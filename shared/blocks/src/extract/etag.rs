//! Answers that a client may have already: `ETag`, `If-None-Match` and 304 (RFC 9110, 8.8.3 and 13.1.2).

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use ring::digest::{SHA256, digest};
use serde::Serialize;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};

use super::parameter;

/// How much of the digest is in a tag, in bytes.
const TAG_BYTES: usize = 16;
/// A tag's length: that as base64, of six bits a letter, between quotes.
const TAG_LENGTH: usize = (TAG_BYTES * 8).div_ceil(6) + 2;

/// A JSON body and its strong tag: equal bytes have equal tags, others have others. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tagged {
    /// Copied, not shared: all who read one post at once would meet at the count of who has it.
    tag: [u8; TAG_LENGTH],
    body: Bytes,
}

impl Tagged {
    /// `value` as JSON.
    ///
    /// # Panics
    /// When it can't be written as JSON: a programmer's mistake, as views are made of texts and numbers.
    pub fn json<T: Serialize>(value: &T) -> Self {
        let json = serde_json::to_vec(value).expect("a view is made of texts and numbers");
        Self::from(Bytes::from(json))
    }

    /// The bytes that are sent.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    fn header(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.tag).expect("base64 is visible ASCII")
    }
}

impl From<Bytes> for Tagged {
    fn from(body: Bytes) -> Self {
        let digest = digest(&SHA256, &body);
        let mut tag = [b'"'; TAG_LENGTH];
        URL_SAFE_NO_PAD
            .encode_slice(&digest.as_ref()[..TAG_BYTES], &mut tag[1..TAG_LENGTH - 1])
            .expect("the length is that of the letters");
        Self { tag, body }
    }
}

/// The tags of the client's copies: the header `If-None-Match`. Handlers of `GET` take it, and answer with
/// it; `HEAD` goes the same way.
#[derive(Debug, Clone, Default)]
pub struct IfNoneMatch(Vec<HeaderValue>);

impl IfNoneMatch {
    /// 304 without a body when the client has `tagged`, else 200 with it.
    pub fn answer(&self, tagged: Tagged) -> Response {
        let tag = (ETAG, tagged.header());
        if self.has(&tagged.tag) {
            return (StatusCode::NOT_MODIFIED, [tag]).into_response();
        }
        let json = HeaderValue::from_static("application/json");
        ([(CONTENT_TYPE, json), tag], tagged.body).into_response()
    }

    /// Compares weakly, as RFC 9110 wants it: a server that packed the body may have made the tag a weak
    /// one. A comma inside of a tag is none of ours.
    fn has(&self, tag: &[u8]) -> bool {
        let values = self.0.iter().map(HeaderValue::as_bytes);
        let mut tags = values.flat_map(|value| value.split(|byte| *byte == b','));
        tags.any(|had| {
            let had = had.trim_ascii();
            had == b"*" || had.strip_prefix(b"W/").unwrap_or(had) == tag
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let values = parts.headers.get_all(IF_NONE_MATCH).iter();
        Ok(Self(values.cloned().collect()))
    }
}

impl IntoParams for IfNoneMatch {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = ObjectBuilder::new().schema_type(Type::String);
        let about = "The `ETag` of what you have: 304 when it is still so.";
        vec![parameter(
            "If-None-Match",
            ParameterIn::Header,
            about,
            schema,
        )]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn had(values: &[&'static str]) -> IfNoneMatch {
        IfNoneMatch(
            values
                .iter()
                .copied()
                .map(HeaderValue::from_static)
                .collect(),
        )
    }

    #[test]
    fn equal_bytes_have_equal_strong_tags() {
        let [a, again, b] = ["a", "a", "b"].map(|text| Tagged::json(&text));
        assert_eq!(a.tag, again.tag);
        assert_ne!(a.tag, b.tag);
        assert_eq!(a.tag, *b"\"rI2DQruyNi0T8KVZo2IbtA\"");
    }

    #[test]
    fn a_client_is_told_that_it_has_it_however_it_says_so() {
        let tagged = Tagged::json(&"a");
        for values in [
            &["\"rI2DQruyNi0T8KVZo2IbtA\""][..],
            &["W/\"rI2DQruyNi0T8KVZo2IbtA\""],
            &["\"x\" , \"rI2DQruyNi0T8KVZo2IbtA\""],
            &["\"x\"", "\"rI2DQruyNi0T8KVZo2IbtA\""],
            &["*"],
        ] {
            let answer = had(values).answer(tagged.clone());
            assert_eq!(answer.status(), 304, "{values:?}");
            assert_eq!(answer.headers()["etag"].as_bytes(), tagged.tag);
            assert!(!answer.headers().contains_key("content-type"));
        }
        for values in [
            &[][..],
            &["\"x\""],
            &["rI2DQruyNi0T8KVZo2IbtA"],
            &["\"**\""],
            &[""],
        ] {
            let answer = had(values).answer(tagged.clone());
            assert_eq!(answer.status(), 200, "{values:?}");
            assert_eq!(answer.headers()["etag"].as_bytes(), tagged.tag);
        }
    }
}
