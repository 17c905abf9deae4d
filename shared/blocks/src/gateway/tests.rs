use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::{Extension, Router};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tower::ServiceExt;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::table::Mistake;
use super::*;
use crate::identity::headers::is_identity;
use crate::problem::Logged;
use crate::{Caller, Mode, Role, Route, Service};

fn who(caller: Option<Extension<Caller>>, headers: &HeaderMap) -> String {
    assert!(
        !headers.keys().any(|name| is_identity(name.as_str())),
        "{headers:?}"
    );
    caller.map_or("nobody".to_owned(), |Extension(caller)| {
        caller.name.to_string()
    })
}

#[utoipa::path(get, path = "/things/{id}", params(("q" = Option<String>, Query), ("id" = String, Path)),
    responses((status = 200)))]
async fn read(caller: Option<Extension<Caller>>, headers: HeaderMap) -> String {
    who(caller, &headers)
}

#[utoipa::path(put, path = "/things/{id}", responses((status = 200)))]
async fn write(caller: Option<Extension<Caller>>, headers: HeaderMap) -> String {
    who(caller, &headers)
}

#[utoipa::path(post, path = "/login/", responses((status = 200)))]
async fn login(caller: Option<Extension<Caller>>, headers: HeaderMap) -> String {
    who(caller, &headers)
}

const READ: Route = Route {
    methods: &["GET"],
    path: "/things/{id}",
    mode: Mode::Optional,
};
const WRITE: Route = Route {
    methods: &["PUT"],
    path: "/things/{id}",
    mode: Mode::Required,
};
const LOGIN: Route = Route {
    methods: &["POST"],
    path: "/login",
    mode: Mode::Strip,
};

fn service(routes: &'static [Route]) -> Service {
    Service {
        name: "things",
        router: OpenApiRouter::new()
            .routes(routes!(read, write))
            .routes(routes!(login)),
        routes,
        topics: &[],
        publishes: &[],
        consumers: vec![],
        outbox: None,
        checks: vec![],
        background: vec![],
    }
}

/// Reads, writes and logs in.
pub(crate) fn things() -> Service {
    service(&[READ, WRITE, LOGIN])
}

/// Believes the names of its accounts.
struct Names;

#[async_trait]
impl Authenticator for Names {
    async fn authenticate(&self, token: &str) -> Result<Caller, AuthRefusal> {
        let role = match token {
            "ada" => Role::User,
            "gast" => Role::Guest,
            "away" => return Err(AuthRefusal::Unavailable("no answer".into())),
            _ => return Err(AuthRefusal::Signature),
        };
        Ok(Caller {
            id: 1,
            name: token.into(),
            email: "".into(),
            role,
            session: Uuid::from_u128(1),
        })
    }
}

fn gateway() -> Router {
    let service = things();
    let table = Table::of([&service]).unwrap();
    Gateway::new(table, Arc::new(Names)).wrap(service.router.split_for_parts().0)
}

async fn send(method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .body(Body::empty())
        .unwrap();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        request
            .headers_mut()
            .append(name, HeaderValue::from_str(value).unwrap());
    }
    gateway().oneshot(request).await.unwrap()
}

async fn text(response: Response) -> String {
    let body = axum::body::to_bytes(response.into_body(), usize::MAX)
        .await
        .unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn each_mode_treats_no_token_a_good_one_and_a_bad_one_as_promised() {
    let good = ("authorization", "Bearer ada");
    let bad = ("authorization", "Bearer mallory");
    let basic = ("authorization", "Basic YWRhOmFkYQ==");
    for (method, path, none, bearer, broken) in [
        ("PUT", "/things/1", Err(401), Ok("ada"), Err(401)),
        ("GET", "/things/1", Ok("nobody"), Ok("ada"), Err(401)),
        ("POST", "/login/", Ok("nobody"), Ok("nobody"), Ok("nobody")),
    ] {
        for (headers, expected) in [
            (vec![], none),
            (vec![good], bearer),
            (vec![bad], broken),
            (vec![basic], broken),
            (vec![good, good], broken),
        ] {
            let response = send(method, path, &headers).await;
            let case = format!("{method} {path} {headers:?}");
            match expected {
                Ok(name) => assert_eq!(text(response).await, name, "{case}"),
                Err(status) => {
                    assert_eq!(response.status(), status, "{case}");
                    assert_eq!(response.headers()["www-authenticate"], "Bearer");
                    assert_eq!(
                        response.headers()["content-type"],
                        "application/problem+json"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn identity_headers_from_outside_never_arrive_in_any_spelling_on_any_route() {
    // `who` asserts that none is left.
    for (method, path) in [
        ("GET", "/things/1"),
        ("PUT", "/things/1"),
        ("POST", "/login/"),
    ] {
        for name in [
            "X-User-ID",
            "x_user_id",
            "X-Identity",
            "x-user_role",
            "X.User.Name",
        ] {
            let forged = [
                ("authorization", "Bearer ada"),
                (name, "1"),
                (name, "2"),
                ("connection", "x-identity"),
            ];
            let response = send(method, path, &forged).await;
            assert_eq!(response.status(), StatusCode::OK, "{method} {path} {name}");
        }
    }
}

#[tokio::test]
async fn a_guest_may_read_and_nothing_else() {
    let guest = [("authorization", "Bearer gast")];
    assert_eq!(text(send("GET", "/things/1", &guest).await).await, "gast");
    assert_eq!(
        send("HEAD", "/things/1", &guest).await.status(),
        StatusCode::OK
    );
    let response = send("PUT", "/things/1", &guest).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert!(text(response).await.contains("guest_read_only"));
}

#[tokio::test]
async fn a_parameter_that_the_endpoint_does_not_document_is_named_once_the_caller_may_ask() {
    let ada = ("authorization", "Bearer ada");
    for (method, path, headers, expected) in [
        ("GET", "/things/1?q=1", vec![], Ok(200)),
        ("HEAD", "/things/1?&%71=&", vec![ada], Ok(200)),
        (
            "GET",
            "/things/1?q=1&tags=x&page=2",
            vec![],
            Err(&["page", "tags"][..]),
        ),
        ("GET", "/things/1?id=1", vec![ada], Err(&["id"])),
        ("PUT", "/things/1?q=1", vec![ada], Err(&["q"])),
        ("PUT", "/things/1?q=1", vec![], Ok(401)),
        ("POST", "/login/?Q", vec![], Err(&["Q"])),
        ("GET", "/nowhere?q=1", vec![], Ok(404)),
        ("DELETE", "/things/1?q=1", vec![], Ok(405)),
    ] {
        let case = format!("{method} {path} {headers:?}");
        let response = send(method, path, &headers).await;
        match expected {
            Ok(status) => assert_eq!(response.status(), status, "{case}"),
            Err(named) => {
                assert_eq!(response.status(), 400, "{case}");
                let problem: serde_json::Value =
                    serde_json::from_str(&text(response).await).unwrap();
                let errors = problem["errors"].as_object().unwrap();
                assert_eq!(errors.keys().collect::<Vec<_>>(), named, "{case}");
            }
        }
    }
}

#[tokio::test]
async fn when_auth_is_away_the_answer_is_503_not_401() {
    let response = send("GET", "/things/1", &[("authorization", "Bearer away")]).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()["retry-after"], "1");
    let logged = response.extensions().get::<Logged>();
    assert!(logged.is_some(), "the kit would log it again");
}

#[tokio::test]
async fn what_no_route_matches_is_left_to_the_router() {
    assert_eq!(
        send("GET", "/nowhere", &[]).await.status(),
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        send("DELETE", "/things/1", &[]).await.status(),
        StatusCode::METHOD_NOT_ALLOWED
    );
}

#[test]
fn a_table_that_does_not_match_the_endpoints_can_not_be_made() {
    const NOWHERE: Route = Route {
        methods: &["GET"],
        path: "/nowhere",
        mode: Mode::Strip,
    };
    const ODD: Route = Route {
        methods: &["get"],
        path: "/things/{id}",
        mode: Mode::Strip,
    };
    let of = |routes| Table::of([&service(routes)]).unwrap_err();
    let missing = of(&[READ, WRITE]);
    assert_eq!(missing.mistake, Mistake::NoRoute);
    assert!(missing.to_string().contains(": POST /login has no route"));
    let nowhere = of(&[READ, WRITE, LOGIN, NOWHERE]);
    assert_eq!(nowhere.mistake, Mistake::NoEndpoint);
    assert_eq!(of(&[READ, READ, WRITE, LOGIN]).mistake, Mistake::Twice);
    let odd = of(&[ODD, WRITE, LOGIN]);
    assert_eq!(odd.mistake, Mistake::NoEndpoint);
    assert!(odd.to_string().contains(": get /things/{id} is a route"));
    // Two services with the same endpoint: the second one is told.
    let (one, two) = (
        service(&[READ, WRITE, LOGIN]),
        service(&[READ, WRITE, LOGIN]),
    );
    let twice = Table::of([&one, &two]).unwrap_err();
    assert_eq!(twice.mistake, Mistake::Twice);
}

#[test]
fn head_counts_as_get_and_a_trailing_slash_makes_no_difference() {
    let service = service(&[READ, WRITE, LOGIN]);
    let table = Table::of([&service]).unwrap();
    assert_eq!(
        table.mode("/things/{id}", &Method::HEAD),
        Some(Mode::Optional)
    );
    assert_eq!(
        table.mode("/things/{id}/", &Method::PUT),
        Some(Mode::Required)
    );
    assert_eq!(table.mode("/login", &Method::POST), Some(Mode::Strip));
    assert_eq!(table.mode("/login", &Method::GET), None);
}
