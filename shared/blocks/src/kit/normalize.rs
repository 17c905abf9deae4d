//! Paths before routing: `/path/` is `/path`, and tricks are refused.

use std::task::{Context, Poll};

use http::uri::PathAndQuery;
use http::{Request, Uri};
use tower::Service;

use crate::problem::Problem;

/// The path that a refused request gets: no router has it, and the kit around the router answers 400.
const NOWHERE: PathAndQuery = PathAndQuery::from_static("/bad-path");

/// Trims one trailing slash, and refuses with 400 `bad_path` a path that could mean one thing to the
/// gateway and another to a handler. These are `//`, `/./`, `/../`, a backslash, the encoded forms of dot,
/// slash, backslash and NUL, and anything that is not UTF-8 once decoded.
///
/// It goes around a router that [`super::Kit::wrap`] made, as the path must be right before routing.
#[derive(Debug, Clone)]
pub struct Normalize<S>(pub S);

/// Marks a request that the kit must refuse.
#[derive(Debug, Clone)]
pub(super) struct BadPath {
    pub path: String,
    pub why: &'static str,
}

impl<S, B> Service<Request<B>> for Normalize<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(task)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let path = request.uri().path();
        if let Some(why) = trick(path) {
            let path = path.to_owned();
            with_path(request.uri_mut(), NOWHERE);
            request.extensions_mut().insert(BadPath { path, why });
        } else if path.len() > 1 && path.ends_with('/') {
            let mut trimmed = path[..path.len() - 1].to_owned();
            if let Some(query) = request.uri().query() {
                trimmed.push('?');
                trimmed.push_str(query);
            }
            if let Ok(trimmed) = trimmed.parse() {
                with_path(request.uri_mut(), trimmed);
            }
        }
        self.0.call(request)
    }
}

fn with_path(uri: &mut Uri, path: PathAndQuery) {
    // Scheme and authority stay out: routing looks at the path only, and a relative one is always valid.
    *uri = Uri::from(path);
}

/// Refuses a path that [`Normalize`] would refuse: for who is told of one in a header.
///
/// # Errors
/// 400 `bad_path`, which says why.
pub fn check_path(path: &str) -> Result<(), Problem> {
    trick(path).map_or(Ok(()), |why| Err(Problem::bad_request("bad_path", why)))
}

/// The fault in `path`, if it has one.
fn trick(path: &str) -> Option<&'static str> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        // `OPTIONS *` asks about the server, not about a path.
        return (path != "*").then_some("the path must start with a slash");
    }
    let mut encoded = false;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'/' => {
                let rest = &bytes[at + 1..];
                let end = rest.iter().position(|byte| *byte == b'/');
                match &rest[..end.unwrap_or(rest.len())] {
                    b"." | b".." => return Some("the path must not have . or .. in it"),
                    b"" if end.is_some() => return Some("the path must not have // in it"),
                    _ => {}
                }
            }
            b'\\' => return Some("the path must not have a backslash in it"),
            b'%' => {
                encoded = true;
                let digits = bytes.get(at + 1..at + 3).unwrap_or_default();
                if digits.len() < 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
                    return Some("the path has a % that encodes nothing");
                }
                if [b"2e", b"2f", b"5c", b"00"]
                    .iter()
                    .any(|bad| digits.eq_ignore_ascii_case(*bad))
                {
                    return Some(
                        "the path must not have an encoded dot, slash, backslash or NUL in it",
                    );
                }
            }
            _ => {}
        }
    }
    let readable = !encoded
        || percent_encoding::percent_decode(bytes)
            .decode_utf8()
            .is_ok();
    (!readable || std::str::from_utf8(bytes).is_err()).then_some("the path is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tricks_are_seen_and_honest_paths_are_not_taken_for_one() {
        for bad in [
            "//",
            "/a//b",
            "//a",
            "/a//",
            "/.",
            "/..",
            "/./a",
            "/a/../b",
            "/a/..",
            "/a/.",
            "/a/%2e%2e/b",
            "/a%2Fb",
            "/a%2fb",
            "/a%5cb",
            "/a%00",
            "/a\\b",
            "/%ff",
            "/%c3%28",
            "/%",
            "/%2",
            "/%zz",
            "/a%",
            "a",
            "",
        ] {
            assert!(trick(bad).is_some(), "{bad}");
        }
        for good in [
            "/",
            "/a",
            "/a/",
            "/a/b.c",
            "/...",
            "/.well-known/jwks.json",
            "/a..b",
            "/a%20b",
            "/%C3%A9",
            "/a@b",
            "*",
        ] {
            assert_eq!(trick(good), None, "{good}");
        }
    }
}
