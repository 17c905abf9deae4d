//! Masks secrets in a log: values of fields with telling names, and, in any text, tokens, e-mail addresses
//! and the text after `password=` and the like.

use std::borrow::Cow;

/// The text shown for a secret.
pub(super) const MASK: &str = "[masked]";

/// Parts of names whose values are never shown.
const SECRET_NAMES: [&str; 9] = [
    "password",
    "passwd",
    "secret",
    "token",
    "authorization",
    "cookie",
    "email",
    "api_key",
    "apikey",
];

/// True if a field of this name is never shown.
pub(super) fn is_secret(name: &str) -> bool {
    SECRET_NAMES.iter().any(|part| {
        name.len() >= part.len()
            && name
                .as_bytes()
                .windows(part.len())
                .any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
    })
}

/// `text` with tokens, e-mail addresses and values of secret names masked.
pub fn redact(text: &str) -> Cow<'_, str> {
    // Nearly every text is through after looking at each byte once.
    if !is_suspicious(text.as_bytes()) {
        return Cow::Borrowed(text);
    }
    let mut spans = Vec::new();
    addresses(text, &mut spans);
    tokens(text, &mut spans);
    named(text, &mut spans);
    if spans.is_empty() {
        return Cow::Borrowed(text);
    }
    spans.sort_unstable();
    let mut masked = String::with_capacity(text.len());
    let mut done = 0;
    for (start, end) in spans {
        if start >= done {
            masked.push_str(&text[done..start]);
            masked.push_str(MASK);
        }
        done = done.max(end);
    }
    masked.push_str(&text[done..]);
    Cow::Owned(masked)
}

fn is_suspicious(text: &[u8]) -> bool {
    text.iter().enumerate().any(|(at, byte)| match byte {
        b'@' | b'=' | b':' => true,
        b'%' => text[at..].starts_with(b"%40"),
        b'e' => text[at..].starts_with(b"eyJ"),
        b'B' | b'b' => text.len() - at > 7 && text[at..at + 7].eq_ignore_ascii_case(b"bearer "),
        _ => false,
    })
}

/// Something on both sides of an `@` (or its `%40`) is taken for an address.
fn addresses(text: &str, spans: &mut Vec<(usize, usize)>) {
    for mark in ["@", "%40"] {
        for (at, _) in text.match_indices(mark) {
            let before =
                text[..at].trim_end_matches(|c: char| c.is_alphanumeric() || "._%+-".contains(c));
            let after = text[at + mark.len()..]
                .trim_start_matches(|c: char| c.is_alphanumeric() || ".-".contains(c));
            let (start, end) = (before.len(), text.len() - after.len());
            if start < at && end > at + mark.len() {
                spans.push((start, end));
            }
        }
    }
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~+/=".contains(c)
}

/// A JWT (`eyJ` and two dots), and whatever follows `Bearer`.
fn tokens(text: &str, spans: &mut Vec<(usize, usize)>) {
    for (start, _) in text.match_indices("eyJ") {
        let end = text.len() - text[start..].trim_start_matches(is_token).len();
        if text[start..end].contains('.') {
            spans.push((start, end));
        }
    }
    for start in found(text, "bearer ") {
        let value = start + "bearer ".len();
        let end = text.len() - text[value..].trim_start_matches(is_token).len();
        if end > value {
            spans.push((value, end));
        }
    }
}

/// The value after a secret name: `password=x`, `"password":"x"`, `password: "x y"`.
fn named(text: &str, spans: &mut Vec<(usize, usize)>) {
    for name in SECRET_NAMES {
        for start in found(text, name) {
            let rest = &text[start + name.len()..];
            // `access_token_id=`: the rest of the name belongs to it.
            let rest = rest
                .trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-');
            let value = rest.trim_start_matches(['"', '\'', '\\', ' ']);
            let Some(value) = value.strip_prefix(['=', ':']) else {
                continue;
            };
            let value = value.trim_start_matches(' ');
            let quoted = value.trim_start_matches('\\');
            let (value, end) = match quoted.chars().next() {
                Some(quote @ ('"' | '\'')) => {
                    let inner = &quoted[1..];
                    (inner, inner.find(quote).unwrap_or(inner.len()))
                }
                _ => (
                    value,
                    value
                        .find([' ', ',', ';', '&', '}', ')', '\n'])
                        .unwrap_or(value.len()),
                ),
            };
            let from = text.len() - value.len();
            if end > 0 {
                spans.push((from, from + end));
            }
        }
    }
}

/// Positions of `wanted` (in lower case, ASCII) in `text`, whatever its case.
fn found(text: &str, wanted: &str) -> Vec<usize> {
    let wanted = wanted.as_bytes();
    let windows = text.as_bytes().windows(wanted.len()).enumerate();
    windows
        .filter(|(_, window)| window.eq_ignore_ascii_case(wanted))
        .map(|(at, _)| at)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_the_rest_is_left() {
        for (text, masked) in [
            (
                "registered alice@example.com today",
                "registered [masked] today",
            ),
            (
                "GET /users/email/alice%40example.com 200",
                "GET /users/email/[masked] 200",
            ),
            ("jürgen@straße.de", "[masked]"),
            (
                "Authorization: Bearer abc.def-1",
                "Authorization: [masked] [masked]",
            ),
            (
                "token eyJhbGciOiJFZERTQSJ9.eyJzdWIi.c2ln!",
                "token [masked]!",
            ),
            ("BEARER xyz", "BEARER [masked]"),
            (
                r#"{"password":"hunter 2","age":3}"#,
                r#"{"password":"[masked]","age":3}"#,
            ),
            ("password=hunter2&x=1", "password=[masked]&x=1"),
            (
                r#"said \"refresh_token\":\"abc\""#,
                r#"said \"refresh_token\":\"[masked]""#,
            ),
            ("invalid password", "invalid password"),
            ("GET /api/posts/{id} 200", "GET /api/posts/{id} 200"),
            ("a = b: c @ d", "a = b: c @ d"),
            ("", ""),
        ] {
            assert_eq!(redact(text), masked);
        }
    }

    #[test]
    fn names_that_tell_are_known_whatever_their_case() {
        for name in [
            "password",
            "new_password",
            "X-Api_Key",
            "AUTHORIZATION",
            "user.email",
            "set-cookie",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["user_id", "route", "pass", "duration_ms"] {
            assert!(!is_secret(name), "{name}");
        }
    }
}
