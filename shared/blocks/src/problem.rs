//! Errors as clients see them: RFC 9457 `application/problem+json`, always with a stable `error_code` for
//! programs, a `detail` for people and the `trace_id` that is also in the log.
//!
//! A service's error enum implements [`AsProblem`] with one exhaustive match and calls
//! [`problem_response!`](crate::problem_response); then it can be returned from handlers.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde::Serialize;
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{RefOr, schema};
use utoipa::{PartialSchema, ToSchema};

use crate::context;

mod rate_limit;

pub use rate_limit::{RATE_LIMIT, RATE_LIMIT_POLICY, RateLimit};

/// The media type of every error.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// The most fields that are named.
pub const MAX_FIELDS: usize = 20;
/// The most complaints about one field.
pub const MAX_MESSAGES: usize = 5;
/// The longest name of a field, and the longest complaint: both may repeat what a client sent.
pub const MAX_CHARACTERS: usize = 200;

/// The length in bytes at which `text` is cut.
fn cut(text: &str) -> usize {
    let mut starts = text.char_indices().map(|(start, _)| start);
    starts.nth(MAX_CHARACTERS).unwrap_or(text.len())
}

/// Complaints about a request, by field: `{"title": ["is required"]}`.
///
/// Domain rules collect into it and return it as their error. It stays small for any input: no more than [`MAX_FIELDS`], each with [`MAX_MESSAGES`], cut at [`MAX_CHARACTERS`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct FieldErrors(BTreeMap<String, Vec<String>>);

impl FieldErrors {
    /// One complaint about one field.
    pub fn one(field: &str, message: impl Into<String>) -> Self {
        let mut errors = Self::default();
        errors.add(field, message);
        errors
    }

    /// Adds a complaint about `field`.
    pub fn add(&mut self, field: &str, message: impl Into<String>) {
        let field = &field[..cut(field)];
        if self.0.len() >= MAX_FIELDS && !self.0.contains_key(field) {
            return;
        }
        let messages = self.0.entry(field.to_owned()).or_default();
        if messages.len() < MAX_MESSAGES {
            let mut message = message.into();
            message.truncate(cut(&message));
            messages.push(message);
        }
    }

    /// The value read from `field`; otherwise adds the complaint about it.
    pub fn take<T>(&mut self, field: &str, read: Result<T, String>) -> Option<T> {
        read.map_err(|why| self.add(field, why)).ok()
    }

    /// Adds all complaints of `other`.
    pub fn merge(&mut self, other: Self) {
        for (field, messages) in other.0 {
            for message in messages {
                self.add(&field, message);
            }
        }
    }

    /// True if there are no complaints.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fields with their complaints, by field name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0
            .iter()
            .map(|(field, messages)| (field.as_str(), messages.as_slice()))
    }

    /// `Ok` when there are no complaints.
    ///
    /// # Errors
    /// Itself, when something was added.
    pub fn into_result(self) -> Result<(), Self> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for FieldErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (field, messages) in &self.0 {
            for message in messages {
                write!(out, "{separator}{field} {message}")?;
                separator = ", ";
            }
        }
        Ok(())
    }
}

impl std::error::Error for FieldErrors {}

impl AsProblem for FieldErrors {
    fn problem(&self) -> Problem {
        Problem::validation(self.clone())
    }
}

impl From<FieldErrors> for Problem {
    fn from(errors: FieldErrors) -> Self {
        Self::validation(errors)
    }
}

/// The answer about an error. Title, instance and trace id are filled in when it becomes a
/// response, from the request that is being served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    error_code: &'static str,
    detail: Cow<'static, str>,
    errors: FieldErrors,
    retry_after: Option<u32>,
    rate_limit: Option<Box<RateLimit>>,
}

impl Problem {
    /// A problem of any status.
    pub fn new(
        status: StatusCode,
        error_code: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            error_code,
            detail: detail.into(),
            errors: FieldErrors::default(),
            retry_after: None,
            rate_limit: None,
        }
    }

    /// 400 `validation_failed`, naming each field.
    pub fn validation(errors: FieldErrors) -> Self {
        let detail = match errors.0.first_key_value() {
            Some((field, messages)) if errors.0.len() == 1 && messages.len() == 1 => {
                Cow::Owned(format!("{field} {}", messages[0]))
            }
            _ => Cow::Borrowed("several fields are not as they must be; see errors"),
        };
        Self {
            errors,
            ..Self::new(StatusCode::BAD_REQUEST, "validation_failed", detail)
        }
    }

    /// 400.
    pub fn bad_request(error_code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error_code, detail)
    }

    /// 401, with `WWW-Authenticate: Bearer`.
    pub fn unauthorized(error_code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, error_code, detail)
    }

    /// 403.
    pub fn forbidden(error_code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::FORBIDDEN, error_code, detail)
    }

    /// 404.
    pub fn not_found(error_code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error_code, detail)
    }

    /// 409.
    pub fn conflict(error_code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, error_code, detail)
    }

    /// 503: something this service needs is away.
    pub fn unavailable(error_code: &'static str) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            error_code,
            "something this service needs does not answer; try again shortly",
        )
    }

    /// 500. The cause stays in the log, under the same trace id.
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal_error",
            "this is a fault of the server; the trace id finds it in the log",
        )
    }

    /// Says after how many seconds trying again makes sense.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Says which limit was reached, and after how many seconds trying again makes sense.
    #[must_use]
    pub fn rate_limit(mut self, limit: impl Into<RateLimit>) -> Self {
        self.rate_limit = Some(Box::new(limit.into()));
        self
    }

    /// Names the fields it is about.
    #[must_use]
    pub fn with_errors(mut self, errors: FieldErrors) -> Self {
        self.errors = errors;
        self
    }

    /// The status it answers with.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The code by which programs tell problems apart.
    pub fn error_code(&self) -> &'static str {
        self.error_code
    }

    /// The text for people.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The complaints by field, where it is about fields.
    pub fn errors(&self) -> &FieldErrors {
        &self.errors
    }
}

/// The wire form.
#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    trace_id: &'a str,
    error_code: &'static str,
    #[serde(skip_serializing_if = "FieldErrors::is_empty")]
    errors: &'a FieldErrors,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let request = context::current();
        let body = Body {
            // RFC 9457: with "about:blank" the title is the status' own phrase. `error_code` tells problems
            // apart.
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            instance: request
                .as_ref()
                .map_or("", |request| request.about.get().unwrap_or(&request.path)),
            trace_id: request.as_ref().map_or("", |request| request.trace.id()),
            error_code: self.error_code,
            errors: &self.errors,
        };
        let bytes = serde_json::to_vec(&body).expect("strings and maps of strings are always JSON");
        let mut response = (self.status, bytes).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(limit) = self.rate_limit {
            limit.tell(headers);
        }
        response
    }
}

impl PartialSchema for Problem {
    fn schema() -> RefOr<Schema> {
        let text = |description: &str| {
            let text = schema::ObjectBuilder::new().schema_type(schema::Type::String);
            text.description(Some(description)).build()
        };
        let messages = schema::Object::with_type(schema::Type::String);
        let messages = schema::ArrayBuilder::new().items(messages);
        let errors = schema::ObjectBuilder::new()
            .description(Some("With `validation_failed`: the complaints by field."))
            .additional_properties(Some(messages));
        let about = "Always `about:blank`: `error_code` tells problems apart.";
        let mut problem =
            schema::ObjectBuilder::new().description(Some("What went wrong (RFC 9457)."));
        for (name, schema) in [
            ("type", text(about)),
            ("title", text("The status in words.")),
            ("status", schema::Object::with_type(schema::Type::Integer)),
            ("detail", text("What went wrong, for people.")),
            ("instance", text("The path that was asked for.")),
            ("trace_id", text("Finds the request in the logs.")),
            (
                "error_code",
                text("What went wrong, for programs; never changes."),
            ),
        ] {
            problem = problem.property(name, schema).required(name);
        }
        problem.property("errors", errors).into()
    }
}

impl ToSchema for Problem {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("Problem")
    }
}

/// An error with a form for clients.
pub trait AsProblem: std::error::Error {
    /// The problem for clients. Match without a `_` arm: a new variant waits for a decision.
    fn problem(&self) -> Problem;

    /// True if a 5xx is a fault, logged as an error for each request. A server that refuses more work than
    /// it can do says so once for all instead.
    fn is_fault(&self) -> bool {
        true
    }
}

/// Marks a response whose cause is in the log already, so that it is not logged a second time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Logged;

/// Answers with the problem of `error`. A 5xx is logged here with its causes, unless the command or query that
/// failed has done so.
pub fn respond<E: AsProblem + 'static>(error: &E) -> Response {
    let problem = error.problem();
    let error_code = problem.error_code;
    let failed = problem.status.is_server_error();
    let mut response = problem.into_response();
    if failed {
        if error.is_fault() && !context::is_failure_logged() {
            tracing::error!(
                error_code,
                error = crate::error::chain(error),
                "request failed"
            );
        }
        response.extensions_mut().insert(Logged);
    }
    response
}

/// Lets an error that is [`AsProblem`] be returned from handlers.
#[macro_export]
macro_rules! problem_response {
    ($error:ty) => {
        impl ::axum::response::IntoResponse for $error {
            fn into_response(self) -> ::axum::response::Response {
                $crate::problem::respond(&self)
            }
        }
    };
}

#[cfg(test)]
mod tests;
