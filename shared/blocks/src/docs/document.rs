//! Merges the API descriptions of several services into one document. Rules for all endpoints are added
//! here, so that an endpoint states only its own. A status above 399 with nothing but a description answers
//! with a [`Problem`], and answers that any endpoint may give are added.

use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, HeaderBuilder, Info, Object, OpenApi, Paths, Ref, RefOr, ResponseBuilder, Type,
};
use utoipa::{PartialSchema, ToSchema};

use super::schemas;
use crate::problem::{self, Problem};
use crate::service::{Mode, Route};

/// The name of the security scheme.
const BEARER: &str = "bearer";

/// Merges the API descriptions of several services. Adds the bearer scheme, the answers given around every
/// handler and, from the gateway's rules, which operation needs a token.
pub fn merge<'a>(
    title: &str,
    version: &str,
    services: impl IntoIterator<Item = (OpenApi, &'a [Route])>,
) -> OpenApi {
    let mut info = Info::new(title, version);
    info.description = Some("No text that is sent may have a NUL character (U+0000).".into());
    let mut merged = OpenApi::new(info, Paths::new());
    for (mut openapi, routes) in services {
        for route in routes {
            if let Some(item) = openapi.paths.paths.get_mut(route.path) {
                for (method, operation) in operations(item) {
                    if route.methods.contains(&method) {
                        secure(operation, route.mode, method);
                        answers(operation, method);
                    }
                }
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
    let name = Problem::name().into_owned();
    components.schemas.insert(name, Problem::schema());
    schemas::complete(&mut merged);
    merged
}

/// The operations of a path, with their methods.
pub(super) fn operations(
    item: &mut PathItem,
) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    [
        ("GET", &mut item.get),
        ("HEAD", &mut item.head),
        ("POST", &mut item.post),
        ("PUT", &mut item.put),
        ("PATCH", &mut item.patch),
        ("DELETE", &mut item.delete),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

fn secure(operation: &mut Operation, mode: Mode, method: &str) {
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
            "`unauthenticated` or `invalid_token`: the token is missing or not valid",
        );
        if !is_safe(method) {
            add(operation, "403", "`guest_read_only`: a guest may only read");
        }
    }
}

fn is_safe(method: &str) -> bool {
    ["GET", "HEAD"].contains(&method)
}

/// Adds the answers that every operation may give without its handler, and the bodies of all problems.
fn answers(operation: &mut Operation, method: &str) {
    headers(operation);
    limits(operation);
    let reads_body = !is_safe(method);
    let takes_json = operation.request_body.is_some();
    for (may, status, description) in [
        (
            reads_body,
            "400",
            "`malformed_json`, or `validation_failed`: `errors` names each field and parameter",
        ),
        (
            !reads_body,
            "400",
            "`validation_failed`: `errors` names each parameter",
        ),
        (
            reads_body,
            "408",
            "`body_timeout`: the body did not arrive in time",
        ),
        (
            reads_body,
            "413",
            "`body_too_large`: the body is over the limit",
        ),
        (
            takes_json,
            "415",
            "`unsupported_media_type`: the body is not sent as `application/json`, or is packed",
        ),
        (
            true,
            "500",
            "`internal_error`: a fault of the server; `trace_id` finds it in its log",
        ),
        (
            true,
            "503",
            "`store_unavailable`, `auth_unavailable`: something the service needs does not answer; \
             `Retry-After` says when to try again",
        ),
        (
            true,
            "504",
            "`timeout`: the answer took too long; whether a change was made must be looked up",
        ),
    ] {
        if may {
            add(operation, status, description);
        }
    }
    for (status, answer) in &mut operation.responses.responses {
        if let RefOr::T(answer) = answer
            && status.starts_with(['4', '5'])
            && answer.content.is_empty()
        {
            let content = ContentBuilder::new()
                .schema(Some(Ref::from_schema_name(Problem::name())))
                .build();
            let media_type = problem::MEDIA_TYPE.to_owned();
            answer.content.insert(media_type, content.into());
        }
    }
}

/// Adds the answers that an operation's headers bring.
fn headers(operation: &mut Operation) {
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
        let in_flight = "`idempotency_key_in_flight`: the same request is under way";
        add(operation, "409", in_flight);
        let reused = "`idempotency_key_reused`: the key came with another request";
        add(operation, "422", reused);
    }
}

/// Adds the headers of an answer that tells of a limit.
fn limits(operation: &mut Operation) {
    let answers = &mut operation.responses.responses;
    let Some(RefOr::T(limited)) = answers.get_mut("429") else {
        return;
    };
    for (name, about, kind) in [
        (
            "Retry-After",
            "The seconds after which to try again.",
            Type::Integer,
        ),
        (
            "RateLimit",
            "How many requests are left (`r`), for how many seconds (`t`), by limit.",
            Type::String,
        ),
        (
            "RateLimit-Policy",
            "How many requests a limit allows (`q`) in how many seconds (`w`).",
            Type::String,
        ),
    ] {
        let header = HeaderBuilder::new().schema(Some(Object::with_type(kind)));
        let header = header.description(Some(about)).build();
        limited.headers.insert(name.into(), header.into());
    }
}

/// Documents an answer, before the operation's own text for that status.
fn add(operation: &mut Operation, status: &str, description: &str) {
    let answers = &mut operation.responses.responses;
    let nothing = || RefOr::T(ResponseBuilder::new().build());
    if let RefOr::T(answer) = answers.entry(status.into()).or_insert_with(nothing) {
        let own = &answer.description;
        let separator = if own.is_empty() { "" } else { "; " };
        answer.description = format!("{description}{separator}{own}");
    }
}
