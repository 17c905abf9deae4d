//! The documentation of the HTTP API: `/openapi.json`, `/docs` (Swagger UI) and `/redoc` (Redoc).
//! Everything they need is in the binary, so they work without a network.

mod document;
mod schemas;

use std::sync::{Arc, LazyLock};

use aide::redoc::Redoc;
use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use utoipa::openapi::OpenApi;

use crate::problem::Problem;

pub use document::merge;

const DOCS: &str = include_str!("../assets/docs.html");
const DOCS_START: &str = include_str!("../assets/docs.start.js");
const SCRIPT: &str = "text/javascript; charset=utf-8";
const REDOC: &str = include_str!("../assets/redoc.html");
/// Redoc and its start. The crate has it inside of a page, where [`POLICY`] takes no script.
static REDOC_SCRIPT: LazyLock<Bytes> = LazyLock::new(|| {
    let page = Redoc::new("/openapi.json").html();
    let (_, script) = page.split_once("<script>").expect("a page with a script");
    let (script, _) = script.split_once("</script>").expect("a script ends");
    Bytes::copy_from_slice(script.as_bytes())
});

/// Nothing from anywhere else; both pages write styles of their own, and Redoc searches in a worker
/// that it makes itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; font-src 'self' data:; connect-src 'self'; worker-src blob:; base-uri 'none'; \
    frame-ancestors 'none'";

/// The routes that show `openapi`.
///
/// # Panics
/// When the document can't be written as JSON, which a test of the service would have shown.
pub fn router(openapi: &OpenApi) -> Router {
    let json: Bytes = openapi
        .to_json()
        .expect("an OpenAPI document is JSON")
        .into();
    let document = move || async move { ([(CONTENT_TYPE, "application/json")], json.clone()) };
    pages().route("/openapi.json", get(document))
}

/// The pages that show any document at `/openapi.json`.
pub fn pages() -> Router {
    Router::new()
        .route("/docs", get(async || page(DOCS)))
        .route("/docs/start.js", get(async || file(SCRIPT, DOCS_START)))
        .route("/docs/{file}", get(swagger_file))
        .route("/redoc", get(async || page(REDOC)))
        .route(
            "/redoc/redoc.js",
            get(async || file(SCRIPT, REDOC_SCRIPT.clone())),
        )
}

fn page(html: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
    ];
    (headers, html).into_response()
}

/// A file that changes with a release only.
fn file(content_type: &str, bytes: impl IntoResponse) -> Response {
    let headers = [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "public, max-age=3600"),
    ];
    (headers, bytes).into_response()
}

fn no_file() -> Problem {
    Problem::not_found("not_found", "the documentation has no such file")
}

async fn swagger_file(Path(name): Path<String>) -> Result<Response, Problem> {
    // Its own page and its start script load a document that is not ours.
    if !["swagger-ui.css", "swagger-ui-bundle.js"].contains(&&*name) {
        return Err(no_file());
    }
    let config = Arc::new(utoipa_swagger_ui::Config::from("/openapi.json"));
    let found = utoipa_swagger_ui::serve(&name, config).map_err(|error| {
        tracing::error!(error = &*error, "a file of the documentation can't be read");
        Problem::internal()
    })?;
    let found = found.ok_or_else(no_file)?;
    let mut response = file(&found.content_type, found.bytes);
    if found.gzpipped {
        response
            .headers_mut()
            .insert(CONTENT_ENCODING, http::HeaderValue::from_static("gzip"));
    }
    Ok(response)
}
