//! What can go wrong with a call, and what a client of ours is told of it.

use std::fmt;
use std::io;
use std::iter::successors;
use std::sync::Arc;
use std::time::Duration;

use blocks::{AsProblem, Problem, problem_response};
use http::{Method, StatusCode};
use reqwest::Url;

/// The reason why there is no client.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client {name} can't be made: {why}")]
pub struct SettingsError {
    pub(crate) name: String,
    pub(crate) why: String,
}

/// A call that failed. It names no secret: neither query nor headers nor bodies.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{asked}")]
pub struct Error {
    pub(crate) asked: Box<Asked>,
    #[source]
    pub(crate) kind: Kind,
}

impl Error {
    /// The reason.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }
}

/// Who was asked for what.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub client: Arc<str>,
    pub method: Method,
    /// Without its query, in which some put secrets.
    pub url: String,
}

impl Asked {
    pub(crate) fn new(client: &Arc<str>, method: Method, url: Url) -> Self {
        Self {
            client: Arc::clone(client),
            method,
            url: bare(url),
        }
    }

    pub(crate) fn failed(self, kind: Kind) -> Error {
        Error {
            asked: Box::new(self),
            kind,
        }
    }
}

/// `url` without the parts in which secrets stand.
pub(crate) fn bare(mut url: Url) -> String {
    url.set_query(None);
    url.set_fragment(None);
    // These fail for a URL that can have no user, and then has none.
    let _ = (url.set_username(""), url.set_password(None));
    url.into()
}

impl fmt::Display for Asked {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {} {}", self.client, self.method, self.url)
    }
}

/// The reason of a failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Kind {
    /// The request itself is wrong; nothing was sent.
    #[error("the request can't be made: {0}")]
    Request(String),
    /// Too many calls failed of late; nothing was sent.
    #[error("not asked: the circuit breaker is open")]
    Open,
    /// No connection came about; nothing was sent.
    #[error("could not connect: {0}")]
    Connect(String),
    /// The server's certificate is not one for this name that a known authority signed; nothing was sent.
    #[error("the server's certificate is refused: {0}")]
    Certificate(String),
    /// The total time-out passed, retries included.
    #[error("no whole answer within {0:?}")]
    Timeout(Duration),
    /// Nothing came for the idle time-out.
    #[error("nothing came for {0:?}")]
    Idle(Duration),
    /// The connection ended before the answer did. Whether the request took effect is not known.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The answer is larger than the limit, in bytes.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// There is no access token to send.
    #[error("no access token")]
    Token(#[source] Box<Kind>),
    /// The token endpoint refuses, by a code of RFC 6749.
    #[error("refused by the token endpoint: {0}")]
    Refused(&'static str),
    /// It was answered by a status that was not wanted.
    #[error("it answered {0}")]
    Status(StatusCode),
    /// The body is not what was expected. Its text is not shown.
    #[error("the answer can't be read: {0}")]
    Body(String),
}

impl Kind {
    /// Its name in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Request(_) => "request",
            Self::Open => "open",
            Self::Connect(_) => "connect",
            Self::Certificate(_) => "certificate",
            Self::Timeout(_) => "timeout",
            Self::Idle(_) => "idle",
            Self::Broken(_) => "broken",
            Self::TooLarge(_) => "too_large",
            Self::Token(_) | Self::Refused(_) => "token",
            Self::Status(_) => "status",
            Self::Body(_) => "body",
        }
    }

    /// The reason for `error`, where nothing may come for `idle` at most.
    pub(crate) fn of(error: &reqwest::Error, idle: Duration) -> Self {
        let tls = causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>());
        if let Some(refused @ rustls::Error::InvalidCertificate(_)) = tls {
            return Self::Certificate(refused.to_string());
        }
        let root = causes(error).last().map(ToString::to_string);
        let root = root.unwrap_or_default();
        if error.is_builder() {
            Self::Request(root)
        } else if error.is_connect() {
            Self::Connect(root)
        } else if error.is_timeout() {
            Self::Idle(idle)
        } else {
            Self::Broken(root)
        }
    }
}

type Cause<'a> = &'a (dyn std::error::Error + 'static);

/// The causes below `error`. The messages of reqwest's own errors name the URL, so it is not among them.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = Cause<'_>> {
    successors(std::error::Error::source(error), |cause| {
        // An I/O error does not give what it wraps as its source, but the source of that.
        let wrapped = cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        match wrapped {
            Some(wrapped) => Some(wrapped as Cause<'_>),
            None => cause.source(),
        }
    })
}

impl AsProblem for Error {
    fn problem(&self) -> Problem {
        match &self.kind {
            Kind::Request(_) => Problem::internal(),
            Kind::Open | Kind::Connect(_) | Kind::Token(_) | Kind::Refused(_) => {
                Problem::unavailable("upstream_unavailable").retry_after(1)
            }
            Kind::Timeout(_) | Kind::Idle(_) => Problem::new(
                StatusCode::GATEWAY_TIMEOUT,
                "upstream_timeout",
                "another service took too long",
            ),
            Kind::Certificate(_)
            | Kind::Broken(_)
            | Kind::TooLarge(_)
            | Kind::Status(_)
            | Kind::Body(_) => Problem::new(
                StatusCode::BAD_GATEWAY,
                "upstream_failed",
                "another service did not answer as expected",
            ),
        }
    }

    /// The circuit breaker says once for all that it is open.
    fn is_fault(&self) -> bool {
        self.kind != Kind::Open
    }
}
problem_response!(Error);

#[cfg(test)]
mod tests {
    use blocks::error::chain;

    use super::*;

    #[test]
    fn an_error_says_who_was_asked_for_what_and_why_it_failed_without_the_query() {
        let url = Url::parse("https://api.example.com/places?key=hunter2").unwrap();
        let asked = Asked::new(&"geocoder".into(), Method::GET, url);
        let error = asked.failed(Kind::Token(Box::new(Kind::Refused("invalid_client"))));
        assert_eq!(
            chain(&error),
            "geocoder: GET https://api.example.com/places: no access token: \
             refused by the token endpoint: invalid_client"
        );
        assert!(!format!("{error:?}").contains("hunter2"));
        assert_eq!(error.problem().status(), 503);
    }
}
