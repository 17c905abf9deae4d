//! The assertion in an operator's request to a service's private port: a compact JWS (RFC 7515), HS256 by a
//! key that operators and services share.
//!
//! The key never travels, and an assertion holds for a minute. It does not say who the operator is: whoever
//! has the key may do everything that the private port offers.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use chrono::{DateTime, TimeDelta, Utc};
use ring::hmac;
use serde::{Deserialize, Serialize};

use super::token::SKEW;

const HEADER: &str = r#"{"alg":"HS256","typ":"operator+jwt"}"#;
/// How long an assertion holds.
const TTL: TimeDelta = TimeDelta::seconds(60);

#[derive(Serialize, Deserialize)]
struct Claims {
    aud: String,
    /// In seconds since 1970.
    iat: i64,
    /// In seconds since 1970.
    exp: i64,
}

/// Signs and checks operators' requests (`OPERATOR_KEY`).
#[derive(Clone)]
pub struct OperatorKey {
    key: hmac::Key,
    service: &'static str,
}

impl OperatorKey {
    /// The key whose bytes are `secret`'s.
    pub fn new(secret: &str, service: &'static str) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        Self { key, service }
    }

    /// A new assertion, for one request.
    ///
    /// # Panics
    /// Never: three plain values are JSON.
    pub fn assertion(&self, now: DateTime<Utc>) -> String {
        let claims = Claims {
            aud: self.audience(),
            iat: now.timestamp(),
            exp: (now + TTL).timestamp(),
        };
        let claims = serde_json::to_vec(&claims).expect("three plain values are JSON");
        let signed = format!("{}.{}", BASE64.encode(HEADER), BASE64.encode(claims));
        let signature = hmac::sign(&self.key, signed.as_bytes());
        format!("{signed}.{}", BASE64.encode(signature))
    }

    /// True if `assertion` was made for operators with this key, and holds at `now`.
    pub fn verifies(&self, assertion: &str, now: DateTime<Utc>) -> bool {
        self.claims(assertion).is_some_and(|claims| {
            let now = now.timestamp();
            let skew = SKEW.num_seconds();
            claims.aud == self.audience() && claims.iat <= now + skew && now < claims.exp + skew
        })
    }

    /// The service: what is asked of one is no word to another.
    fn audience(&self) -> String {
        format!("operators of {}", self.service)
    }

    fn claims(&self, assertion: &str) -> Option<Claims> {
        let (signed, signature) = assertion.rsplit_once('.')?;
        let signature = BASE64.decode(signature).ok()?;
        hmac::verify(&self.key, signed.as_bytes(), &signature).ok()?;
        let (header, claims) = signed.split_once('.')?;
        if BASE64.decode(header).ok()? != HEADER.as_bytes() {
            return None;
        }
        serde_json::from_slice(&BASE64.decode(claims).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    #[test]
    fn an_assertion_holds_for_a_minute_and_for_its_key_alone() {
        let key = OperatorKey::new("0123456789abcdef0123456789abcdef", "posts");
        let other = OperatorKey::new("0123456789abcdef0123456789abcdee", "posts");
        let made = key.assertion(at(0));
        assert!(key.verifies(&made, at(0)) && key.verifies(&made, at(59)));
        let late = 60 + SKEW.num_seconds();
        assert!(!key.verifies(&made, at(late)) && !key.verifies(&made, at(-late)));
        assert!(!other.verifies(&made, at(0)));
        let elsewhere = OperatorKey::new("0123456789abcdef0123456789abcdef", "auth");
        assert!(!elsewhere.verifies(&made, at(0)));
    }

    #[test]
    fn what_was_changed_or_is_none_is_refused() {
        let key = OperatorKey::new("0123456789abcdef0123456789abcdef", "posts");
        let made = key.assertion(at(0));
        let parts: Vec<&str> = made.split('.').collect();
        let none = BASE64.encode(r#"{"alg":"none"}"#);
        let forever = BASE64.encode(r#"{"aud":"operators of posts","iat":0,"exp":9999999999}"#);
        for bad in [
            String::new(),
            "a.b.c".to_owned(),
            format!("{}.{}.", parts[0], parts[1]),
            format!("{none}.{}.{}", parts[1], parts[2]),
            format!("{}.{forever}.{}", parts[0], parts[2]),
            format!("{made}A"),
        ] {
            assert!(!key.verifies(&bad, at(0)), "{bad}");
        }
    }
}
