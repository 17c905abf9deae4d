//! The ids of a request: W3C trace context, `X-Request-ID`, `X-Correlation-ID`.

use http::{HeaderMap, HeaderName, HeaderValue};
use rand::Rng;

use crate::context::RequestContext;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(super) const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

const LONGEST_ID: usize = 128;
/// `{"` in base64: every JSON web token begins like this.
const TOKEN_START: &[u8] = b"eyJ";

/// What a request is known by.
pub(super) struct Ids {
    pub context: RequestContext,
    pub request: HeaderValue,
    pub correlation: HeaderValue,
}

impl Ids {
    /// The ids that came with a request where they are sane, new ones where they are not.
    pub(super) fn of(headers: &HeaderMap, path: &str) -> Self {
        let mut random = [0; 24];
        rand::rng().fill(&mut random);
        let (for_trace, for_span) = random.split_at(16);
        let trace_id = headers
            .get(TRACEPARENT)
            .and_then(|value| trace_id(value.as_bytes()))
            .unwrap_or_else(|| hex::encode(for_trace));
        // A request without an id is known by its trace: one thing less to look up.
        let request = sane(headers, &REQUEST_ID).unwrap_or_else(|| {
            HeaderValue::from_str(&trace_id).expect("hex digits are visible ASCII")
        });
        let correlation = sane(headers, &CORRELATION_ID).unwrap_or_else(|| request.clone());
        let correlation_id = correlation.to_str().unwrap_or_default().to_owned();
        Self {
            context: RequestContext {
                trace_id,
                span_id: hex::encode(for_span),
                correlation_id,
                path: path.to_owned(),
                ..RequestContext::default()
            },
            request,
            correlation,
        }
    }
}

/// An id is logged as it came, so it must not be able to be an address, a phone number or a token.
fn sane(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let value = headers.get(name)?;
    let bytes = value.as_bytes();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    let sane = (1..=LONGEST_ID).contains(&bytes.len())
        && bytes.iter().all(plain)
        && !bytes
            .windows(TOKEN_START.len())
            .any(|part| part == TOKEN_START);
    sane.then(|| value.clone())
}

/// The trace id of a valid `traceparent`: version, 32, 16 and 2 lower-case hex digits, none all zeros.
fn trace_id(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    let mut parts = text.split('-');
    let (version, trace, parent, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is = |part: &str, digits: usize| {
        part.len() == digits
            && part
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let not_zero = |part: &str| part.bytes().any(|b| b != b'0');
    let valid = is(version, 2)
        && version != "ff"
        && is(trace, 32)
        && not_zero(trace)
        && is(parent, 16)
        && not_zero(parent)
        && is(flags, 2)
        // Later versions may have more parts; this one has not.
        && (version != "00" || parts.next().is_none());
    valid.then(|| trace.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(pairs: &[(&'static str, &str)]) -> Ids {
        let headers = pairs.iter().map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        });
        Ids::of(&headers.collect(), "/x")
    }

    #[test]
    fn a_valid_traceparent_is_continued_and_another_is_not() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let valid = format!("00-{trace}-b7ad6b7169203331-01");
        let continued = ids(&[("traceparent", &valid)]);
        assert_eq!(continued.context.trace_id, trace);
        assert_ne!(continued.context.span_id, "b7ad6b7169203331");
        for bad in [
            "",
            "00",
            "garbage",
            &valid.to_uppercase(),
            &valid.replace("00-", "ff-"),
            &format!("{valid}-more"),
            &format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            &format!("00-{trace}-0000000000000000-01"),
            &format!("00-{trace}x-b7ad6b7169203331-01"),
        ] {
            let made = ids(&[("traceparent", bad)]).context;
            assert_ne!(made.trace_id, trace, "{bad}");
            assert_eq!((made.trace_id.len(), made.span_id.len()), (32, 16));
        }
    }

    #[test]
    fn sane_ids_are_kept_and_the_correlation_falls_back_to_the_request() {
        let given = ids(&[("x-request-id", "r-1"), ("x-correlation-id", "c-1")]);
        assert_eq!(
            (given.request.as_bytes(), given.correlation.as_bytes()),
            (&b"r-1"[..], &b"c-1"[..])
        );
        let one = ids(&[("x-request-id", "r-1")]);
        assert_eq!(one.context.correlation_id, "r-1");
        for bad in [
            "",
            "two words",
            "ada@example.org",
            "+49301234567",
            "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIxIn0.c2ln",
            "Bearer-eyJhbGciOiJFZERTQSJ9",
            "a/b",
            &"x".repeat(129),
        ] {
            let made = ids(&[("x-request-id", bad), ("x-correlation-id", bad)]);
            assert_eq!(made.request.as_bytes(), made.context.trace_id.as_bytes());
            assert_eq!(made.context.correlation_id, made.context.trace_id);
        }
    }
}
