//! The documentation of all services in one.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures::future::join_all;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::remote::Remote;
use crate::VERSION;

/// Asks the services for theirs; of one that is away it shows the last answer.
#[derive(Clone)]
pub(super) struct Documents {
    services: Arc<[Known]>,
}

/// A service, how it is asked, and its last answer.
type Known = (&'static str, Remote, Mutex<Option<Value>>);

impl Documents {
    pub fn of(services: impl IntoIterator<Item = (&'static str, Remote)>) -> Self {
        let services = services.into_iter();
        let services = services.map(|(name, remote)| (name, remote, Mutex::default()));
        Self {
            services: services.collect(),
        }
    }

    pub fn router(self) -> Router {
        Router::new()
            .route("/openapi.json", get(openapi))
            .with_state(self)
    }

    async fn all(&self) -> Vec<Value> {
        let asked = self
            .services
            .iter()
            .map(|(service, remote, known)| async move {
                let said = remote.get("/openapi.json").await;
                let said = said.and_then(|answer| Ok(answer.json::<Value>()?));
                let mut known = known.lock();
                match said {
                    Ok(document) => *known = Some(document),
                    Err(error) => tracing::warn!(
                        service,
                        error = format!("{error:#}"),
                        "could not get the documentation of a service"
                    ),
                }
                known.clone()
            });
        join_all(asked).await.into_iter().flatten().collect()
    }
}

async fn openapi(State(documents): State<Documents>) -> Response {
    Json(merge(documents.all().await)).into_response()
}

/// One document: the services share no path. Other shared parts (the problem, the security scheme) are the
/// same in each.
fn merge(documents: Vec<Value>) -> Value {
    let mut version = json!("3.1.0");
    let mut paths = Map::new();
    let mut components: Map<String, Value> = Map::new();
    for mut document in documents {
        if let Some(said) = document.get("openapi") {
            version = said.clone();
        }
        if let Value::Object(own) = document["paths"].take() {
            // Paths that every service has are answered here.
            let shared = ["/", "/health", "/ready"];
            paths.extend(
                own.into_iter()
                    .filter(|(path, _)| !shared.contains(&&**path)),
            );
        }
        if let Value::Object(own) = document["components"].take() {
            for (kind, entries) in own {
                let all = components.entry(kind).or_insert_with(|| json!({}));
                if let (Value::Object(all), Value::Object(entries)) = (all, entries) {
                    all.extend(entries);
                }
            }
        }
    }
    json!({
        "openapi": version,
        "info": {"title": "Rookery", "version": VERSION},
        "paths": paths,
        "components": components,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_components_of_all_documents_are_in_one() {
        let of = |path: &str, schema: &str| {
            json!({
                "openapi": "3.1.0",
                "info": {"title": "one", "version": "0"},
                "paths": {path: {"get": {"operationId": path}}, "/health": {"get": {}}},
                "components": {"schemas": {schema: {"type": "object"}, "Problem": {}}, "securitySchemes": {"bearer": {}}},
            })
        };
        let merged = merge(vec![
            of("/api/posts", "Post"),
            of("/api/profile", "Profile"),
        ]);
        let keys = |pointer: &str| -> Vec<String> {
            merged
                .pointer(pointer)
                .and_then(Value::as_object)
                .unwrap()
                .keys()
                .cloned()
                .collect()
        };
        assert_eq!(keys("/paths"), ["/api/posts", "/api/profile"]);
        assert_eq!(keys("/components/schemas"), ["Post", "Problem", "Profile"]);
        assert_eq!(keys("/components/securitySchemes"), ["bearer"]);
        assert_eq!(merged["info"]["title"], "Rookery");
        assert_eq!(merge(vec![])["paths"], json!({}));
    }
}
