//! The ids of a request: W3C trace context, `X-Request-ID`, `X-Correlation-ID`.

use events::trace::tracestate;
use events::{Context, Traceparent, header};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::context::{RequestContext, Trace};

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The header with the id by which all work for one cause is found.
pub const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");

const LONGEST_ID: usize = 128;
/// `{"` in base64: every JSON web token begins like this.
const TOKEN_START: &[u8] = b"eyJ";

/// The ids of a request.
pub(super) struct Ids {
    pub context: RequestContext,
    pub request: HeaderValue,
    pub correlation: HeaderValue,
}

impl Ids {
    /// The ids that came with a request where they are sane, new ones where they are not.
    pub(super) fn of(headers: &HeaderMap, path: &str) -> Self {
        let mut trace = trace(headers);
        // A request without an id is known by its trace: one thing less to look up.
        let request = sane(headers, &REQUEST_ID).unwrap_or_else(|| {
            HeaderValue::from_str(trace.id()).expect("hex digits are visible ASCII")
        });
        let correlation = sane(headers, &CORRELATION_ID).unwrap_or_else(|| request.clone());
        trace.own.correlation_id = correlation.to_str().ok().map(Into::into);
        Self {
            context: RequestContext {
                trace,
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

/// A span of our own in the trace that the request names, or the first one of a new trace.
fn trace(headers: &HeaderMap) -> Trace {
    let mut given = headers.get_all(header::TRACEPARENT).iter();
    // Two of them are none: nobody knows which one holds.
    let parent = match (given.next(), given.next()) {
        (Some(one), None) => one.to_str().ok().and_then(Traceparent::parse),
        _ => None,
    };
    let Some(parent) = parent else {
        let traceparent = Some(Traceparent::new(rand::random(), rand::random()));
        let own = Context {
            traceparent,
            ..Context::default()
        };
        return Trace { own, parent: None };
    };
    let states = headers.get_all(header::TRACESTATE).iter();
    Trace::under(&Context {
        traceparent: Some(parent),
        tracestate: tracestate(states.map(|value| value.to_str().unwrap_or("not ASCII"))),
        correlation_id: None,
    })
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

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_trace_is_continued_by_a_span_of_its_own() {
        for given in [GIVEN, &GIVEN.replace("-01", "-00")] {
            let state = [("tracestate", "rojo=1"), ("tracestate", "congo=2")];
            let Trace { own, parent } = ids(&[&[("traceparent", given)], &state[..]].concat())
                .context
                .trace;
            let (own_span, parent) = (own.traceparent.unwrap(), parent.unwrap());
            assert_eq!(parent.as_str(), given);
            assert_eq!(own_span.trace_id(), parent.trace_id());
            assert_ne!(own_span.span_id(), parent.span_id());
            assert_eq!(own_span.is_sampled(), given == GIVEN);
            assert_eq!(own.tracestate.as_deref(), Some("rojo=1,congo=2"));
        }
    }

    #[test]
    fn a_trace_that_is_none_is_not_continued_and_a_new_one_is_sampled() {
        let bad = GIVEN.replace("00-", "ff-");
        for given in [
            &[][..],
            &[("traceparent", &*bad)],
            &[("traceparent", GIVEN), ("traceparent", GIVEN)],
        ] {
            let state = [("tracestate", "rojo=1")];
            let Trace { own, parent } = ids(&[given, &state[..]].concat()).context.trace;
            let made = own.traceparent.unwrap();
            assert!(!GIVEN.contains(made.trace_id()) && made.is_sampled());
            assert_eq!((parent, own.tracestate), (None, None));
        }
    }

    #[test]
    fn sane_ids_are_kept_and_the_correlation_falls_back_to_the_request() {
        let correlation = |ids: &Ids| ids.context.trace.own.correlation_id.clone().unwrap();
        let given = ids(&[("x-request-id", "r-1"), ("x-correlation-id", "c-1")]);
        assert_eq!(
            (given.request.as_bytes(), given.correlation.as_bytes()),
            (&b"r-1"[..], &b"c-1"[..])
        );
        let one = ids(&[("x-request-id", "r-1")]);
        assert_eq!(&*correlation(&one), "r-1");
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
            assert_eq!(made.request.as_bytes(), made.context.trace.id().as_bytes());
            assert_eq!(&*correlation(&made), made.context.trace.id());
        }
    }
}
