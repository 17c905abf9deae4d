//! Requests to a server that may be gone before it answers.

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as Hyper;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// The server went away before all of an answer was there: nobody knows what became of the request.
#[derive(Debug)]
pub struct Gone;

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// Null where there was no JSON.
    pub body: Value,
}

impl Answer {
    /// The body of an answer that must have been `status`.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }
}

/// An HTTP client that keeps its connections.
#[derive(Clone)]
pub struct Client {
    address: String,
    http: Hyper<HttpConnector, Full<bytes::Bytes>>,
}

impl Client {
    pub fn new(address: &str) -> Self {
        // It must not send a write again by itself: then nobody could count.
        let http = Hyper::builder(TokioExecutor::new())
            .retry_canceled_requests(false)
            .build_http();
        Self {
            address: address.to_owned(),
            http,
        }
    }

    /// Sends a request once.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        json: Option<&Value>,
    ) -> Result<Answer, Gone> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address));
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if json.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = json.map(Value::to_string).unwrap_or_default();
        let request = request.body(Full::from(body)).unwrap();
        let answer = self.http.request(request).await.map_err(|_| Gone)?;
        let status = answer.status();
        let bytes = answer.into_body().collect().await.map_err(|_| Gone)?;
        let body = serde_json::from_slice(&bytes.to_bytes()).unwrap_or(Value::Null);
        Ok(Answer { status, body })
    }

    /// What a server that nobody kills answers to a GET.
    pub async fn get(&self, path: &str, token: Option<&str>) -> Answer {
        let answer = self.send("GET", path, token, None).await;
        answer.unwrap_or_else(|Gone| panic!("the server is gone at GET {path}"))
    }

    /// All items of a list, page by page; no page may repeat what another had.
    pub async fn all(&self, list: &str, id: &str) -> Vec<Value> {
        let mut items: Vec<Value> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        let mut next = format!("{list}?limit=100");
        loop {
            let mut page = self.get(&next, None).await.expect(200);
            let Value::Array(more) = page["items"].take() else {
                panic!("no items in {page}");
            };
            for item in &more {
                assert!(seen.insert(item[id].to_string()), "twice in {list}: {item}");
            }
            items.extend(more);
            let Some(cursor) = page["next_cursor"].as_str() else {
                return items;
            };
            next = format!("{list}?limit=100&cursor={cursor}");
        }
    }
}
