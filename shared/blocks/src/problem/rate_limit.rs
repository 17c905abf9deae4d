//! The headers that tell of a limit, by draft-ietf-httpapi-ratelimit-headers-11.

use http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};

/// What is left of a quota, and until when.
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// A quota and its time.
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// A limit that a client reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// The name of the limit: letters, digits and dashes.
    pub policy: &'static str,
    /// How many requests the limit allows in a window.
    pub quota: u32,
    /// The window, in seconds.
    pub window: u32,
    /// How many requests are left.
    pub remaining: u32,
    /// The time after which trying again makes sense, in seconds.
    pub retry_after: u32,
}

impl RateLimit {
    /// Writes `RateLimit-Policy`, `RateLimit` and `Retry-After`.
    pub(super) fn tell(self, headers: &mut HeaderMap) {
        let Self {
            policy,
            quota,
            window,
            remaining,
            retry_after,
        } = self;
        let value = |text: String| {
            HeaderValue::try_from(text).expect("a limit's name has letters, digits and dashes")
        };
        let said = format!(r#""{policy}";q={quota};w={window}"#);
        headers.insert(RATE_LIMIT_POLICY, value(said));
        let said = format!(r#""{policy}";r={remaining};t={retry_after}"#);
        headers.insert(RATE_LIMIT, value(said));
        headers.insert(RETRY_AFTER, HeaderValue::from(retry_after));
    }
}
