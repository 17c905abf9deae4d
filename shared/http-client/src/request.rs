//! A request before it is sent.

use std::fmt;
use std::time::Duration;

use blocks::context;
use blocks::kit::CORRELATION_ID;
use blocks::telemetry::is_secret;
use bytes::Bytes;
use events::{Traceparent, header};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use reqwest::Url;
use serde::Serialize;

use crate::client::{CONSUMER_ID, Client};
use crate::error::{Asked, Error, Kind};
use crate::exchange::Call;
use crate::response::Response;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const TRACEPARENT: HeaderName = HeaderName::from_static(header::TRACEPARENT);
const TRACESTATE: HeaderName = HeaderName::from_static(header::TRACESTATE);

/// A request that can be added to. A mistake in it is told by [`RequestBuilder::send`].
#[must_use = "it is sent by `send`"]
pub struct RequestBuilder<'a> {
    client: &'a Client,
    method: Method,
    path: String,
    segments: Vec<String>,
    query: String,
    headers: HeaderMap,
    body: Bytes,
    timeout: Duration,
    is_repeatable: bool,
    wrong: Option<String>,
}

/// Without the body and the query, which may hold secrets.
impl fmt::Debug for RequestBuilder<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RequestBuilder")
            .field("client", self.client)
            .field("method", &self.method)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

impl<'a> RequestBuilder<'a> {
    pub(crate) fn new(client: &'a Client, method: Method, path: &str) -> Self {
        Self {
            client,
            is_repeatable: method.is_idempotent(),
            method,
            path: path.to_owned(),
            segments: Vec::new(),
            query: String::new(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            timeout: client.0.timeout,
            wrong: None,
        }
    }

    /// Adds a segment to the path, whatever characters it has: a name that somebody chose can't lead
    /// elsewhere.
    pub fn segment(mut self, segment: impl Into<String>) -> Self {
        self.segments.push(segment.into());
        self
    }

    /// Adds fields to the query: of a struct, or pairs.
    pub fn query(mut self, fields: &(impl Serialize + ?Sized)) -> Self {
        match serde_urlencoded::to_string(fields) {
            Ok(more) => {
                if !self.query.is_empty() {
                    self.query.push('&');
                }
                self.query.push_str(&more);
            }
            Err(error) => self.is_wrong(error.to_string()),
        }
        self
    }

    /// Sets a header. It wins over one that the client sets, but for the client's credentials.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let pair = (HeaderName::try_from(name), HeaderValue::try_from(value));
        if let (Ok(name), Ok(mut value)) = pair {
            value.set_sensitive(is_secret(name.as_str()));
            self.headers.insert(name, value);
        } else {
            self.is_wrong(format!(
                "the header {name:?} has a character that none may have"
            ));
        }
        self
    }

    /// Sends `body` as JSON.
    pub fn json(self, body: &(impl Serialize + ?Sized)) -> Self {
        self.written(serde_json::to_vec(body), "application/json")
    }

    /// Sends `fields` as a form does.
    pub fn form(self, fields: &(impl Serialize + ?Sized)) -> Self {
        let form = "application/x-www-form-urlencoded";
        self.written(serde_urlencoded::to_string(fields), form)
    }

    /// Sends `body` as it is.
    pub fn body(mut self, body: impl Into<Bytes>, media_type: &str) -> Self {
        self.body = body.into();
        self.header(CONTENT_TYPE.as_str(), media_type)
    }

    /// The longest time of this call with all its tries and pauses.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Another `X-Correlation-Id` than that of the work at hand.
    pub fn correlation_id(self, id: &str) -> Self {
        self.header(CORRELATION_ID.as_str(), id)
    }

    /// Sends `Idempotency-Key`, by which the server does it once; so it may be tried again.
    pub fn idempotency_key(self, key: &str) -> Self {
        self.header(IDEMPOTENCY_KEY.as_str(), key).retryable()
    }

    /// May be tried again, whatever its method: doing it twice does no harm.
    pub fn retryable(mut self) -> Self {
        self.is_repeatable = true;
        self
    }

    /// Sends it and reads the whole answer, whatever its status.
    ///
    /// # Errors
    /// When no answer came, or it was too large. [`Error::kind`] has the reason.
    pub async fn send(self) -> Result<Response, Error> {
        let client = self.client;
        client.exchange(self.call()?).await
    }

    fn written<B: Into<Bytes>, E: fmt::Display>(
        mut self,
        body: Result<B, E>,
        media_type: &str,
    ) -> Self {
        match body {
            Ok(body) => self.body(body, media_type),
            Err(error) => {
                self.is_wrong(error.to_string());
                self
            }
        }
    }

    fn is_wrong(&mut self, why: String) {
        self.wrong.get_or_insert(why);
    }

    fn call(mut self) -> Result<Call, Error> {
        let client = &self.client.0;
        let url = match self.wrong.take() {
            Some(why) => Err(why),
            None => self.url(),
        };
        let url = url.map_err(|why| {
            let asked = Asked {
                client: client.name.clone(),
                method: self.method.clone(),
                url: client.base.clone(),
            };
            asked.failed(Kind::Request(why))
        })?;
        let mut headers = self.headers;
        about_the_cause(&mut headers);
        if let Some(id) = &client.consumer_id {
            set(&mut headers, CONSUMER_ID, || Some(id.clone()));
        }
        Ok(Call {
            method: self.method,
            url,
            headers,
            body: self.body,
            timeout: self.timeout,
            is_repeatable: self.is_repeatable,
        })
    }

    fn url(&self) -> Result<Url, String> {
        check(&self.path)?;
        let mut url: Url = format!("{}{}", self.client.0.base, self.path)
            .parse()
            .map_err(|error| format!("{:?} is no path: {error}", self.path))?;
        for segment in &self.segments {
            if segment.is_empty() || is_dots(segment) {
                return Err(format!("{segment:?} is no segment of a path"));
            }
            let path = url.path_segments_mut();
            let mut path = path.map_err(|()| "the base has no path")?;
            path.pop_if_empty().push(segment);
        }
        if !self.query.is_empty() {
            let query = match url.query() {
                Some(before) => format!("{before}&{}", self.query),
                None => self.query.clone(),
            };
            url.set_query(Some(&query));
        }
        Ok(url)
    }
}

/// Refuses a path that would lead out of the base.
fn check(path: &str) -> Result<(), String> {
    let starts = path.is_empty() || path.starts_with(['/', '?']);
    let odd = |byte: u8| byte.is_ascii_control() || byte == b'\\';
    let mut segments = path.split(['?', '#']).next().unwrap_or_default().split('/');
    if !starts || path.bytes().any(odd) || segments.any(is_dots) {
        return Err(format!(
            "{path:?} is no path below the base: a slash first, no dots as a segment"
        ));
    }
    Ok(())
}

fn is_dots(segment: &str) -> bool {
    let segment = segment.to_ascii_lowercase().replace("%2e", ".");
    [".", ".."].contains(&segment.as_str())
}

/// The trace and the correlation id of the work at hand; new ones where it has none.
fn about_the_cause(headers: &mut HeaderMap) {
    let cause = context::for_events();
    let traceparent = cause
        .traceparent
        .unwrap_or_else(|| Traceparent::new(rand::random(), rand::random()));
    set(headers, TRACEPARENT, || value(traceparent.as_str()));
    if let Some(state) = &cause.tracestate {
        set(headers, TRACESTATE, || value(state));
    }
    let correlation = cause.correlation_id.as_deref();
    set(headers, CORRELATION_ID, || {
        value(correlation.unwrap_or(traceparent.trace_id()))
    });
}

/// Sets a header unless it is there.
fn set(headers: &mut HeaderMap, name: HeaderName, value: impl FnOnce() -> Option<HeaderValue>) {
    if !headers.contains_key(&name)
        && let Some(value) = value()
    {
        headers.insert(name, value);
    }
}

/// An event's correlation id may be any text; one that no header can hold is left out.
fn value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use blocks::metrics::Metrics;

    use super::*;
    use crate::Settings;

    fn client(base: &str) -> Client {
        Client::new(Settings::new("test", base), &Metrics::new()).unwrap()
    }

    #[test]
    fn a_path_is_added_to_the_base_and_never_leads_out_of_it() {
        let client = client("https://api.example.com/v1/");
        for (request, url) in [
            (client.get("/places"), "/places"),
            (
                client.get("/places?a=1").query(&[("q", "a b")]),
                "/places?a=1&q=a+b",
            ),
            (client.get("").segment("../a/b?c"), "/..%2Fa%2Fb%3Fc"),
            (client.get("/users/").segment("ada"), "/users/ada"),
            (client.get("/a.b/..c"), "/a.b/..c"),
        ] {
            let whole = format!("https://api.example.com/v1{url}");
            assert_eq!(request.url().unwrap().as_str(), whole);
        }
        for bad in [
            client.get("places"),
            client.get(".evil.example.com"),
            client.get("@evil.example.com"),
            client.get("/../admin"),
            client.get("/a/%2E%2e/b"),
            client.get("/a/.\t./b"),
            client.get("/a\\..\\b"),
            client.get("/users").segment(".."),
            client.get("/users").segment("%2e%2E"),
            client.get("/users").segment(""),
        ] {
            let path = bad.path.clone();
            assert!(bad.url().is_err(), "{path}");
        }
    }

    #[test]
    fn a_mistake_is_told_with_the_request_it_is_in_and_without_its_value() {
        let client = client("https://api.example.com");
        let wrong = client
            .get("/")
            .header("x-api-key", "hunter2\n")
            .header("a b", "c");
        let error = wrong.call().err().unwrap();
        assert!(matches!(error.kind(), Kind::Request(why) if why.contains("x-api-key")));
        assert!(!format!("{error:?}").contains("hunter2"));
        let request = client.get("/").header("x-api-key", "hunter2");
        let call = request.call().unwrap();
        assert_eq!(call.headers["x-api-key"], "hunter2");
        assert!(!format!("{:?}", call.headers).contains("hunter2"));
    }

    #[test]
    fn a_url_with_a_secret_or_without_a_host_is_no_base() {
        for bad in [
            "",
            "api.example.com",
            "ftp://api.example.com",
            "https://",
            "https://user:secret@api.example.com",
            "https://api.example.com?key=secret",
        ] {
            let made = Client::new(Settings::new("test", bad), &Metrics::new());
            made.unwrap_err();
        }
    }
}
