//! The documentation of the HTTP API: `/openapi.json`, `/docs` (Swagger UI) and `/redoc` (Redoc).
//! Everything they need is in the binary, so they work without a network.

use std::sync::{Arc, LazyLock};

use aide::redoc::Redoc;
use axum::Router;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, HeaderBuilder, Info, OpenApi, Paths, Ref, RefOr, ResponseBuilder,
};
use utoipa::{PartialSchema, ToSchema};

use crate::problem::{self, Problem};
use crate::service::{Mode, Route};

const DOCS: &str = include_str!("../assets/docs.html");
const DOCS_START: &str = include_str!("../assets/docs.start.js");
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

/// The name of the security scheme.
const BEARER: &str = "bearer";

/// One document of what several services say, with the bearer scheme, what is answered around every
/// handler and, from the gateway's rules, which operation needs a token.
pub fn merge<'a>(
    title: &str,
    version: &str,
    services: impl IntoIterator<Item = (OpenApi, &'a [Route])>,
) -> OpenApi {
    let mut merged = OpenApi::new(Info::new(title, version), Paths::new());
    for (mut openapi, routes) in services {
        for route in routes {
            if let Some(item) = openapi.paths.paths.get_mut(route.path) {
                operations(item, route.methods).for_each(|operation| {
                    secure(operation, route.mode);
                    around(operation);
                });
            }
        }
        merged.merge(openapi);
    }
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some(
            "The `access_token` that `POST /api/auth/login` answers with.",
        ))
        .build();
    let components = merged.components.get_or_insert_default();
    components.add_security_scheme(BEARER, SecurityScheme::Http(scheme));
    // What is added below refers to it, also where no operation of the service's own does.
    let schemas = &mut components.schemas;
    schemas
        .entry(Problem::name().into_owned())
        .or_insert_with(Problem::schema);
    merged
}

fn operations<'a>(
    item: &'a mut PathItem,
    methods: &'a [&'static str],
) -> impl Iterator<Item = &'a mut Operation> {
    [
        ("GET", &mut item.get),
        ("HEAD", &mut item.head),
        ("POST", &mut item.post),
        ("PUT", &mut item.put),
        ("PATCH", &mut item.patch),
        ("DELETE", &mut item.delete),
    ]
    .into_iter()
    .filter(|(method, _)| methods.contains(method))
    .filter_map(|(_, operation)| operation.as_mut())
}

fn secure(operation: &mut Operation, mode: Mode) {
    let token = SecurityRequirement::new(BEARER, [] as [&str; 0]);
    operation.security = Some(match mode {
        Mode::Required => vec![token],
        Mode::Optional => vec![SecurityRequirement::default(), token],
        // Said outright, so that a default for the whole document would not reach it.
        Mode::Strip => vec![],
    });
    if mode != Mode::Strip {
        add(
            operation,
            "401",
            "`unauthenticated`: the token is missing or not valid",
        );
    }
}

/// What every operation may answer without its handler having a say, and what the headers bring that
/// it takes.
fn around(operation: &mut Operation) {
    let takes = |header: &str| {
        let mut parameters = operation.parameters.iter().flatten();
        parameters.any(|taken| matches!(taken, RefOr::T(taken) if taken.name == header))
    };
    let (conditional, keyed) = (takes("If-None-Match"), takes("Idempotency-Key"));
    let responses = &mut operation.responses.responses;
    if let Some(RefOr::T(ok)) = responses.get_mut("200").filter(|_| conditional) {
        let tag = HeaderBuilder::new().description(Some("Names this state of it."));
        ok.headers.insert("ETag".into(), tag.build().into());
        let same = ResponseBuilder::new().description("It is as `If-None-Match` says.");
        responses.insert("304".into(), RefOr::T(same.build()));
    }
    if keyed {
        for (status, description) in [
            (
                "409",
                "`idempotency_key_in_flight`: the same request is under way",
            ),
            (
                "422",
                "`idempotency_key_reused`: the key came with another request",
            ),
        ] {
            add(operation, status, description);
        }
    }
    if operation.request_body.is_some() {
        for (status, description) in [
            ("408", "`body_timeout`: the body did not arrive in time"),
            ("413", "`body_too_large`: the body is over the limit"),
            (
                "415",
                "`unsupported_media_type`: the body is not sent as `application/json`, or is packed",
            ),
        ] {
            add(operation, status, description);
        }
    }
    for (status, description) in [
        (
            "503",
            "something the service needs does not answer; `Retry-After` says when to try again",
        ),
        (
            "504",
            "`timeout`: the answer took too long; whether a change was made must be looked up",
        ),
    ] {
        add(operation, status, description);
    }
}

/// Documents a problem where the operation does not say more of it itself.
fn add(operation: &mut Operation, status: &str, description: &str) {
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name(Problem::name())))
        .build();
    let problem = ResponseBuilder::new()
        .description(description)
        .content(problem::MEDIA_TYPE, content)
        .build();
    let responses = &mut operation.responses.responses;
    responses.entry(status.into()).or_insert(RefOr::T(problem));
}

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

/// The pages that show whatever is at `/openapi.json`.
pub fn pages() -> Router {
    Router::new()
        .route("/docs", get(async || page(DOCS)))
        .route("/docs/{file}", get(swagger_file))
        .route("/redoc", get(async || page(REDOC)))
        .route("/redoc/{file}", get(redoc_file))
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
    if name == "start.js" {
        return Ok(file("text/javascript; charset=utf-8", DOCS_START));
    }
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

async fn redoc_file(Path(name): Path<String>) -> Result<Response, Problem> {
    if name != "redoc.js" {
        return Err(no_file());
    }
    Ok(file("text/javascript; charset=utf-8", REDOC_SCRIPT.clone()))
}
