#!/usr/bin/env bash
# utoipa documents a list in a query, and axum's Query takes it in no spelling at all.
# Expected: IntoParams and Query are derived for one struct, so a request made from the document is understood.
# Seen (axum 0.8.9, utoipa 6.0.0): Vec<String> is documented as an array, which OpenAPI sends as tags=a&tags=b. Query
#   answers 400, for one value and for a comma between them, too: serde_urlencoded has no lists. With serde(default)
#   the handler still works without the parameter, so a test that leaves it out passes.
# Why it matters: every client that is generated from the document fails on the one parameter that is a list. The
#   answer is text/plain, which such a client does not parse either.
# What we do: queries are read by an extractor of our own that answers with a problem; no parameter of ours is a list.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cargo_build lists 'axum = { version = "=0.8.9", default-features = false, features = ["query"] }
http-body-util = "0.1"
serde = { version = "1", features = ["derive"] }
serde_json = "1"
tokio = { version = "1", features = ["rt", "macros"] }
tower = { version = "0.5", features = ["util"] }
utoipa = { version = "=6.0.0", features = ["axum_extras"] }' <<'RUST'
use axum::{Router, body::Body, extract::Query, http::Request, routing::get};
use http_body_util::BodyExt;
use tower::ServiceExt;

#[derive(serde::Deserialize, utoipa::IntoParams)]
struct Filter {
    #[serde(default)]
    tags: Vec<String>,
}

#[utoipa::path(get, path = "/", params(Filter), responses((status = 200)))]
async fn list(Query(filter): Query<Filter>) -> String {
    format!("{:?}", filter.tags)
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(list))]
struct Document;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let document = serde_json::to_value(<Document as utoipa::OpenApi>::openapi()).unwrap();
    println!("documented: {}", document["paths"]["/"]["get"]["parameters"][0]);
    for uri in ["/", "/?tags=a&tags=b", "/?tags=a", "/?tags=a,b", "/?tags[]=a"] {
        let request = Request::get(uri).body(Body::empty()).unwrap();
        let answer = Router::new().route("/", get(list)).oneshot(request).await.unwrap();
        let (status, kind) = (answer.status().as_u16(), answer.headers()["content-type"].clone());
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        println!("{uri}: {status} {} {}", kind.to_str().unwrap(), String::from_utf8_lossy(&body));
    }
}
RUST
compare ./lists <<'TEXT'
documented: {"in":"query","name":"tags","required":false,"schema":{"items":{"type":"string"},"type":"array"}}
/: 200 text/plain; charset=utf-8 []
/?tags=a&tags=b: 400 text/plain; charset=utf-8 Failed to deserialize query string: tags: invalid type: string "a", expected a sequence
/?tags=a: 400 text/plain; charset=utf-8 Failed to deserialize query string: tags: invalid type: string "a", expected a sequence
/?tags=a,b: 400 text/plain; charset=utf-8 Failed to deserialize query string: tags: invalid type: string "a,b", expected a sequence
/?tags[]=a: 200 text/plain; charset=utf-8 []
TEXT
as_found
