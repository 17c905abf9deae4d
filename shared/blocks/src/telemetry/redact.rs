//! Masks secrets in a log: values of fields with telling names, and, in any text, tokens, e-mail addresses
//! and the text after `password=` and the like.

use std::borrow::Cow;
use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use regex::{Match, Regex};

/// The text shown for a secret.
pub(super) const MASK: &str = "[masked]";

/// Parts of names whose values are never shown.
const NAMES: [&str; 10] = [
    "password",
    "passwd",
    "secret",
    "token",
    "authorization",
    "cookie",
    "email",
    "api_key",
    "api-key",
    "apikey",
];
/// Every field of every line is asked for: unlike a regex, it takes no lock.
static NAME: LazyLock<AhoCorasick> = LazyLock::new(|| {
    let search = AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .build(NAMES);
    search.expect("the names are few and short")
});
/// The value after such a part: `=x`, `_id":"x"`, `: "x y"`. The rest of a longer name comes first.
static VALUE: LazyLock<Regex> = LazyLock::new(|| {
    compile(r#"^[A-Za-z0-9_-]*["'\\ ]*[=:] *(?:\\*"([^"]*)|\\*'([^']*)|([^ ,;&})\n]+))"#)
});
/// Something on both sides of an `@` (or its `%40`) is taken for an address.
static ADDRESS: LazyLock<Regex> =
    LazyLock::new(|| compile(r"[\p{Alphabetic}\p{N}._%+-]+(?:(?:@|%40)[\p{Alphabetic}\p{N}.-]+)+"));
/// A JWT begins with `eyJ` and has dots.
static JWT: LazyLock<Regex> =
    LazyLock::new(|| compile(r"eyJ[A-Za-z0-9_~+/=-]*\.[A-Za-z0-9._~+/=-]*"));
static BEARER: LazyLock<Regex> = LazyLock::new(|| compile("(?i)bearer "));
static TOKEN: LazyLock<Regex> = LazyLock::new(|| compile("^[A-Za-z0-9._~+/=-]+"));

fn compile(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the tests compile every pattern")
}

/// True if a field of this name is never shown.
pub fn is_secret(name: &str) -> bool {
    NAME.is_match(name)
}

/// `text` with tokens, e-mail addresses and values of secret names masked.
pub fn redact(text: &str) -> Cow<'_, str> {
    // Nearly every text is through after looking at each byte once.
    if !is_suspicious(text.as_bytes()) {
        return Cow::Borrowed(text);
    }
    let whole = ADDRESS.find_iter(text).chain(JWT.find_iter(text));
    let mut spans: Vec<(usize, usize)> = whole.map(|it| (it.start(), it.end())).collect();
    // Each by itself, as a value may have the next name in it.
    let mut mask_value = |at: usize, value: Option<Match>| {
        let value = value.filter(|value| !value.is_empty());
        spans.extend(value.map(|value| (at + value.start(), at + value.end())));
    };
    for bearer in BEARER.find_iter(text) {
        mask_value(bearer.end(), TOKEN.find(&text[bearer.end()..]));
    }
    for name in NAME.find_iter(text) {
        let value = VALUE.captures(&text[name.end()..]);
        let value = value.and_then(|found| found.iter().skip(1).flatten().next());
        mask_value(name.end(), value);
    }
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
            ("bearer bearer xyz", "bearer [masked] [masked]"),
            ("a@b.c@d.e f%40g@h", "[masked] [masked]"),
            ("token: password: hunter2", "token: [masked] [masked]"),
            ("'api_key' = '' email=", "'api_key' = '' email="),
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
            "x-api-key",
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
