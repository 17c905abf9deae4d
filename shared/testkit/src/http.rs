//! A small HTTP client for tests: requests in a line, and answers to check.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Time that a condition may take to become true.
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Talks to one server and keeps its connections.
#[derive(Debug, Clone)]
pub struct Client {
    address: String,
    http: legacy::Client<HttpConnector, Full<Bytes>>,
}

/// An answer of the server.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// All of the body.
    pub body: Bytes,
}

impl Client {
    /// For the server at `address`: `127.0.0.1:8000`.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            http: legacy::Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    /// A client that never repeats a request by itself, which would spoil counts of writes.
    pub fn sending_once(address: impl Into<String>) -> Self {
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        Self {
            address: address.into(),
            http: builder.retry_canceled_requests(false).build_http(),
        }
    }

    /// The server's address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends a request, with a token and a JSON body where they are given.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        json: Option<Value>,
    ) -> Answer {
        let sent = self.try_send(method, path, token, json.as_ref()).await;
        sent.unwrap()
    }

    /// [`Client::send`], where the server may be away.
    ///
    /// # Errors
    /// When no answer came.
    pub async fn try_send(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        json: Option<&Value>,
    ) -> anyhow::Result<Answer> {
        let mut request = self.request(method, path);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if json.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = json.map(Value::to_string).unwrap_or_default();
        self.try_give(request.body(body)?).await
    }

    /// A request to this server, for cases beyond [`Client::send`].
    pub fn request(&self, method: &str, path: &str) -> http::request::Builder {
        let uri = format!("http://{}{path}", self.address);
        Request::builder().method(method).uri(uri)
    }

    /// Sends `request` as it is.
    pub async fn give(&self, request: Request<impl Into<Bytes>>) -> Answer {
        self.try_give(request).await.unwrap()
    }

    /// Sends `request` as it is, where the server may be away.
    ///
    /// # Errors
    /// When no answer came.
    pub async fn try_give(&self, request: Request<impl Into<Bytes>>) -> anyhow::Result<Answer> {
        let request = request.map(|body| Full::new(body.into()));
        Answer::of(self.http.request(request).await?).await
    }
}

impl Answer {
    /// Reads a response to its end.
    ///
    /// # Errors
    /// When it breaks off.
    pub async fn of<B>(response: Response<B>) -> anyhow::Result<Self>
    where
        B: Body<Error: std::error::Error + Send + Sync + 'static>,
    {
        let (parts, body) = response.into_parts();
        Ok(Self {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await?.to_bytes(),
        })
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body of an answer with `status`.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        self.json()
    }

    /// The body of a successful answer.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert!(self.status.is_success(), "{}: {}", self.status, self.text());
        assert_eq!(self.headers[CONTENT_TYPE], "application/json");
        self.json()
    }

    /// Asserts that it is a problem with this status and code, and gives the fields that it names.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Vec<String> {
        let problem = self.expect(status);
        assert_eq!(
            self.headers[CONTENT_TYPE], "application/problem+json",
            "{problem}"
        );
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["error_code"], code, "{problem}");
        let errors = problem["errors"].as_object();
        errors
            .map(|errors| errors.keys().cloned().collect())
            .unwrap_or_default()
    }

    /// Asserts that it is a problem as clients get it from a whole server, and gives its body.
    #[track_caller]
    pub fn expect_problem(&self, status: u16, code: &str) -> Value {
        self.problem(status, code);
        let problem = self.json();
        for field in ["type", "title", "instance", "trace_id"] {
            assert!(problem[field].is_string(), "{field} in {problem}");
        }
        problem
    }
}

/// Sends raw bytes, for requests that no client would make, and gives the answer until the server closes;
/// say `Connection: close`.
pub async fn raw(address: &str, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Polls until there is a result.
///
/// ```
/// # #[tokio::main]
/// # async fn main() {
/// let mut looks = 0;
/// let seen = testkit::http::eventually("the third look", async || {
///     looks += 1;
///     (looks == 3).then_some(looks)
/// })
/// .await;
/// assert_eq!(seen, 3);
/// # }
/// ```
///
/// # Panics
/// When it takes too long.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < end, "did not happen: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
