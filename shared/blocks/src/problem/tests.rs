use super::*;
use std::sync::Arc;

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Refused(#[from] FieldErrors),
    #[error("store failed")]
    Store(#[source] std::io::Error),
}

impl AsProblem for Failure {
    fn problem(&self) -> Problem {
        match self {
            Self::Refused(errors) => errors.problem(),
            Self::Store(_) => Problem::unavailable("store_unavailable").retry_after(1),
        }
    }
}
problem_response!(Failure);

async fn body(response: Response) -> serde_json::Value {
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX)
        .await
        .unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test]
async fn a_problem_names_the_request_and_each_field() {
    let request = Arc::new(context::RequestContext {
        trace: crate::context::Trace::under(&events::Context {
            traceparent: Some(events::Traceparent::new(0xab, 1)),
            ..Default::default()
        }),
        path: "/api/posts".into(),
        ..Default::default()
    });
    let response = context::scope(request, async {
        let mut errors = FieldErrors::one("title", "is required");
        errors.add("tags", "has more than 20 entries");
        Failure::from(errors).into_response()
    })
    .await;
    assert_eq!(response.status(), 400);
    assert_eq!(response.headers()[CONTENT_TYPE], MEDIA_TYPE);
    let body = body(response).await;
    assert_eq!(body["instance"], "/api/posts");
    assert_eq!(body["trace_id"], format!("{:032x}", 0xab));
    assert_eq!(body["title"], "Bad Request");
    assert_eq!(body["error_code"], "validation_failed");
    assert_eq!(body["errors"]["title"][0], "is required");
    assert_eq!(body["errors"]["tags"][0], "has more than 20 entries");
}

#[test]
fn complaints_stay_few_and_short_however_many_are_made() {
    let mut errors = FieldErrors::default();
    for field in 0..1000 {
        errors.add(&format!("{field:03}{}", "ü".repeat(1000)), "is unknown");
    }
    let mut more = FieldErrors::default();
    for _ in 0..1000 {
        more.add("000", "ä".repeat(1000));
    }
    assert_eq!(errors.0.len(), MAX_FIELDS);
    errors.merge(more.clone());
    assert_eq!(errors.0.len(), MAX_FIELDS, "the field 000 is one too many");
    more.merge(more.clone());
    assert_eq!(more.0["000"].len(), MAX_MESSAGES);
    let texts = errors.iter().chain(more.iter());
    for text in texts.flat_map(|(field, texts)| texts.iter().map(|t| &**t).chain([field])) {
        assert!(text.chars().count() <= MAX_CHARACTERS, "{text}");
    }
}

#[tokio::test]
async fn the_cause_of_a_server_error_is_not_told() {
    let response = Failure::Store(std::io::Error::other("secret path")).into_response();
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()[RETRY_AFTER], "1");
    assert!(!body(response).await.to_string().contains("secret"));
}

#[test]
fn unauthorized_says_how_to_authenticate() {
    let response = Problem::unauthorized("unauthenticated", "no token").into_response();
    assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer");
}

#[test]
fn who_reached_a_limit_is_told_of_it_in_structured_fields() {
    let limit = RateLimit {
        policy: "login",
        quota: 10,
        window: 300,
        remaining: 0,
        retry_after: 30,
    };
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many", "wait").rate_limit(limit);
    let response = problem.into_response();
    let headers = response.headers();
    assert_eq!(headers["ratelimit-policy"], r#""login";q=10;w=300"#);
    assert_eq!(headers["ratelimit"], r#""login";r=0;t=30"#);
    assert_eq!(headers[RETRY_AFTER], "30");
}
