//! Requests to a server that may be gone before it answers.

use serde_json::Value;

use crate::http::{self, Answer};

/// No answer of the service came: the outcome of the request is unknown.
#[derive(Debug)]
pub struct Gone;

/// An HTTP client that keeps its connections.
#[derive(Clone)]
pub struct Client {
    http: http::Client,
    /// Something between the two answers when the service does not.
    is_behind_a_gateway: bool,
}

impl Client {
    /// For the server at `address`: `127.0.0.1:8000`.
    pub fn new(address: &str) -> Self {
        Self {
            http: http::Client::sending_once(address),
            is_behind_a_gateway: false,
        }
    }

    /// For services behind a gateway. A 502, 503 or 504 means that one of them is away and leaves the
    /// outcome unknown; so does a 404 that no service wrote.
    pub fn behind_a_gateway(address: &str) -> Self {
        Self {
            is_behind_a_gateway: true,
            ..Self::new(address)
        }
    }

    /// Sends a request once.
    ///
    /// # Errors
    /// When no answer of the service came.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        json: Option<&Value>,
    ) -> Result<Answer, Gone> {
        let answer = self.ask(method, path, token, json).await?;
        let is_away = match answer.status.as_u16() {
            502..=504 => true,
            // Traefik has just started and has not read its routes yet.
            404 => serde_json::from_slice::<Value>(&answer.body).is_err(),
            _ => false,
        };
        if self.is_behind_a_gateway && is_away {
            return Err(Gone);
        }
        Ok(answer)
    }

    /// Sends a request once; an answer of the gateway counts as well.
    ///
    /// # Errors
    /// When none came.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        json: Option<&Value>,
    ) -> Result<Answer, Gone> {
        let answer = self.http.try_send(method, path, token, json).await;
        answer.map_err(|_| Gone)
    }

    /// The answer to a GET of a server that nobody kills.
    pub async fn get(&self, path: &str, token: Option<&str>) -> Answer {
        let answer = self.ask("GET", path, token, None).await;
        answer.unwrap_or_else(|Gone| panic!("the server is gone at GET {path}"))
    }

    /// All items of a list, page by page; no page may repeat an item.
    pub async fn all(&self, list: &str, id: &str) -> Vec<Value> {
        let mut items: Vec<Value> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        let first = list.to_owned() + if list.contains('?') { "&" } else { "?" } + "limit=100";
        let mut next = first.clone();
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
            next = format!("{first}&cursor={cursor}");
        }
    }
}
