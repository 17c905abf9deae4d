//! Any input is answered by a problem that names the fault; never by a 5xx.

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post, put};
use blocks::caller::{Caller, Role};
use blocks::extract::{Admin, Cursor, Page, Patch, ValidJson, ValidPath, ValidQuery};
use blocks::{FieldErrors, Problem};
use http::{Request, StatusCode};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::{Answer, ask, kit};

#[derive(Deserialize)]
struct NewPost {
    title: String,
    #[serde(default)]
    tags: Vec<String>,
    author: Option<Author>,
    #[expect(dead_code, reason = "only read")]
    extra: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Author {
    age: i64,
}

#[derive(Deserialize)]
struct Change {
    #[serde(default)]
    title: Patch<String>,
    #[serde(default)]
    bio: Patch<String>,
}

#[derive(Deserialize)]
struct Filter {
    user_id: Option<i64>,
    tag: Option<String>,
}

async fn create(ValidJson(post): ValidJson<NewPost>) -> String {
    let age = post.author.map_or(0, |author| author.age);
    format!("{} {} {age}", post.title, post.tags.len())
}

async fn change(ValidJson(change): ValidJson<Change>) -> Result<String, Problem> {
    let mut errors = FieldErrors::default();
    let title = change.title.required("title", &mut errors);
    errors.into_result()?;
    let mut bio = Some("old".to_owned());
    change.bio.apply(&mut bio);
    Ok(format!("{title:?} {bio:?}"))
}

async fn list(page: Page, ValidQuery(filter): ValidQuery<Filter>) -> Result<String, Problem> {
    let position = page
        .cursor
        .as_ref()
        .map(Cursor::decode::<(i64, String)>)
        .transpose()?;
    Ok(format!(
        "{} {} {position:?} {:?} {:?}",
        page.limit, page.skip, filter.user_id, filter.tag
    ))
}

fn app() -> Router {
    kit().wrap(
        Router::new()
            .route("/posts", post(create).get(list))
            .route(
                "/posts/{id}",
                put(change).get(async |ValidPath(id): ValidPath<i64>| id.to_string()),
            )
            .route("/me", get(async |caller: Caller| caller.id.to_string()))
            .route(
                "/guest",
                get(async |caller: Option<Caller>| caller.is_some().to_string()),
            )
            .route(
                "/admin",
                get(async |Admin(caller): Admin| caller.id.to_string()),
            ),
    )
}

async fn send(content_type: &str, body: impl Into<Body>) -> Answer {
    let request = Request::post("/posts")
        .header("content-type", content_type)
        .body(body.into());
    ask(app(), request.unwrap()).await
}

async fn fetch(uri: &str) -> Answer {
    ask(app(), Request::get(uri).body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn good_bodies_are_read_whatever_the_spelling_of_their_type() {
    for content_type in [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON;charset=\"UTF-8\"",
    ] {
        let answer = send(
            content_type,
            r#" {"title":"a\\u0000b","author":{"age":3},"extra":{"x":[1.50]}}"#,
        )
        .await;
        assert_eq!(
            (answer.status, &*answer.text),
            (StatusCode::OK, r"a\u0000b 0 3"),
            "{content_type}"
        );
    }
}

#[tokio::test]
async fn a_packed_body_is_415() {
    for (coding, status) in [
        ("gzip", 415),
        ("br", 415),
        ("gzip, identity", 415),
        ("Identity", 200),
    ] {
        let request = Request::post("/posts")
            .header("content-type", "application/json")
            .header("content-encoding", coding)
            .body(Body::from(r#"{"title":"x"}"#))
            .unwrap();
        let answer = ask(app(), request).await;
        assert_eq!(answer.status, status, "{coding}: {}", answer.text);
    }
}

#[tokio::test]
async fn another_content_type_is_415() {
    for content_type in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin1",
        "json",
        "",
    ] {
        send(content_type, r#"{"title":"x"}"#)
            .await
            .is_problem(415, "unsupported_media_type");
    }
    let request = Request::post("/posts").body(Body::from("{}")).unwrap();
    ask(app(), request)
        .await
        .is_problem(415, "unsupported_media_type");
}

#[tokio::test]
async fn what_is_no_json_is_malformed() {
    let deep = format!(
        "{{\"title\":{}{}}}",
        "[".repeat(200_000),
        "]".repeat(200_000)
    );
    let unclosed = "[".repeat(200_000);
    for body in [
        "",
        " ",
        "{",
        "{\"title\":",
        "{title:1}",
        "{\"title\":\"x\"} more",
        "{\"title\":\"x\"}{}",
        "{'title':'x'}",
        "{\"title\":\"x\",}",
        "nul",
        "{\"title\":\"\\ud800\"}",
        "{\"title\":\"a\u{0}b\"}",
        "{\"title\":NaN}",
        &unclosed,
    ] {
        send("application/json", body.to_owned())
            .await
            .is_problem(400, "malformed_json");
    }
    send("application/json", b"{\"title\":\"\xff\"}".to_vec())
        .await
        .is_problem(400, "malformed_json");
    assert_eq!(send("application/json", deep).await.status, 400);
}

#[tokio::test]
async fn a_wrong_value_is_named() {
    for (body, field) in [
        (r"{}", "title"),
        (r#"{"title":null}"#, "title"),
        (r#"{"title":1}"#, "title"),
        (r#"{"title":["x"]}"#, "title"),
        (r#"{"title":"x","title":"y"}"#, "title"),
        (r#"{"title":"x","tags":"y"}"#, "tags"),
        (r#"{"title":"x","tags":["y",2]}"#, "tags[1]"),
        (r#"{"title":"x","author":{}}"#, "author.age"),
        (r#"{"title":"x","author":{"age":1.5}}"#, "author.age"),
        (
            r#"{"title":"x","author":{"age":99999999999999999999}}"#,
            "author.age",
        ),
        (r#"{"title":"x","author":{"age":1e9999}}"#, "author.age"),
        (r"[]", "body"),
        (r#"["x"]"#, "body"),
        (r"null", "body"),
        (r"3", "body"),
        (r#""text""#, "body"),
        (r#"{"title":"a\u0000b"}"#, "title"),
        (r#"{"title":"x","tags":["y","\u0000"]}"#, "tags[1]"),
        (
            r#"{"title":"x","extra":{"deep":[{"er":"\u0000"}]}}"#,
            "extra.deep[0].er",
        ),
        (r#"{"title":"x","extra":{"\u0000":1}}"#, "extra"),
    ] {
        send("application/json", body.to_owned()).await.names(field);
    }
}

#[tokio::test]
async fn all_fields_that_nobody_reads_are_named_with_those_that_are() {
    let named = async |body: &'static str| {
        let answer = send("application/json", body).await;
        answer.is_problem(400, "validation_failed");
        answer.json()["errors"].clone()
    };
    let known = "is unknown; known here: title, tags, author, extra";
    assert_eq!(
        named(r#"{"titel":{"a":[1]},"title":"x","role":null,"extra":{"any":1}}"#).await,
        json!({"titel": [known], "role": [known]})
    );
    assert_eq!(
        named(r#"{"title":"x","author":{"age":1,"Age":2}}"#).await,
        json!({"author.Age": ["is unknown here"]})
    );
    // Together with what else is wrong.
    assert_eq!(
        named(r#"{"titel":"x"}"#).await,
        json!({"titel": [known], "title": ["is required"]})
    );
    let many = (0..1000).fold(String::new(), |many, n| many + &format!("\"{n}\":0,"));
    let answer = send("application/json", format!("{{{many}\"title\":\"x\"}}")).await;
    answer.is_problem(400, "validation_failed");
    assert_eq!(answer.json()["errors"].as_object().unwrap().len(), 20);
}

#[test]
fn a_blank_text_clears_as_null_does() {
    let new = |text: &str| Patch::Set(text.to_owned()).filled();
    assert_eq!(new(" x "), Patch::Set(" x ".to_owned()));
    assert_eq!((new(""), new(" \t\n")), (Patch::Null, Patch::Null));
    assert_eq!(Patch::<String>::Absent.filled(), Patch::Absent);
}

#[tokio::test]
async fn absent_null_and_set_are_three_things() {
    let change = async |body: &'static str| {
        let request = Request::put("/posts/1")
            .header("content-type", "application/json")
            .body(Body::from(body));
        ask(app(), request.unwrap()).await
    };
    assert_eq!(change("{}").await.text, r#"None Some("old")"#);
    assert_eq!(change(r#"{"bio":null}"#).await.text, "None None");
    assert_eq!(
        change(r#"{"bio":"new","title":"t"}"#).await.text,
        r#"Some("t") Some("new")"#
    );
    change(r#"{"title":null}"#).await.names("title");
    change(r#"{"title":7}"#).await.names("title");
}

#[tokio::test]
async fn pages_are_in_range_or_refused() {
    assert_eq!(fetch("/posts").await.text, "20 0 None None None");
    assert_eq!(
        fetch("/posts?limit=100&skip=10000")
            .await
            .text
            .split(" None")
            .next(),
        Some("100 10000")
    );
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=-1", "limit"),
        ("limit=101", "limit"),
        ("limit=abc", "limit"),
        ("limit=", "limit"),
        ("limit", "limit"),
        ("limit=1e9999", "limit"),
        ("limit=1.5", "limit"),
        ("limit=%2010", "limit"),
        ("limit=99999999999999999999999", "limit"),
        ("limit=1&limit=2", "limit"),
        ("skip=-1", "skip"),
        ("skip=10001", "skip"),
        ("skip=9223372036854775808", "skip"),
        ("skip=x", "skip"),
        ("cursor=", "cursor"),
        ("cursor=!!!", "cursor"),
        ("cursor=abc", "cursor"),
        ("cursor=e30", "cursor"),
        ("cursor=WzEsIlx1MDAwMCJd", "cursor"),
        ("user_id=abc", "user_id"),
        ("user_id=99999999999999999999", "user_id"),
        ("user_id=1&user_id=2", "user_id"),
        ("tag=%ff", "tag"),
        ("tag=a%00b", "tag"),
        ("%ff=1", "query"),
    ] {
        fetch(&format!("/posts?{query}")).await.names(field);
    }
    fetch(&format!("/posts?cursor={}", "A".repeat(2000)))
        .await
        .names("cursor");
    assert_eq!(
        fetch("/posts?tag=a+%C3%A9&other=%20&&").await.text,
        r#"20 0 None None Some("a é")"#
    );
}

#[tokio::test]
async fn a_cursor_leads_back_to_its_position_and_not_together_with_skip() {
    let cursor = Cursor::encode(&(7, "x/y?"));
    let answer = fetch(&format!("/posts?cursor={}", cursor.as_str())).await;
    assert_eq!(answer.text, r#"20 0 Some((7, "x/y?")) None None"#);
    let answer = fetch(&format!("/posts?skip=0&cursor={}", cursor.as_str())).await;
    assert_eq!(answer.status, StatusCode::OK, "the default");
    fetch(&format!("/posts?skip=1&cursor={}", cursor.as_str()))
        .await
        .names("skip");
}

#[tokio::test]
async fn a_malformed_id_names_nothing() {
    assert_eq!(fetch("/posts/7").await.text, "7");
    for id in ["abc", "1.5", "99999999999999999999", "-", "%20", "%ff"] {
        fetch(&format!("/posts/{id}"))
            .await
            .is_problem(404, "not_found");
    }
}

#[tokio::test]
async fn callers_are_let_in_by_what_they_are() {
    let caller = |role| Caller {
        id: 7,
        name: "ada".into(),
        email: "".into(),
        role,
        session: uuid::Uuid::nil(),
    };
    let fetch_as = async |uri: &str, role: Role| {
        let request = Request::get(uri)
            .extension(caller(role))
            .body(Body::empty())
            .unwrap();
        ask(app(), request).await
    };
    fetch("/me").await.is_problem(401, "unauthenticated");
    assert_eq!(fetch("/me").await.headers["www-authenticate"], "Bearer");
    fetch("/admin").await.is_problem(401, "unauthenticated");
    assert_eq!(fetch("/guest").await.text, "false");
    assert_eq!(fetch_as("/me", Role::User).await.text, "7");
    assert_eq!(fetch_as("/guest", Role::User).await.text, "true");
    fetch_as("/admin", Role::User)
        .await
        .is_problem(403, "forbidden");
    assert_eq!(fetch_as("/admin", Role::Admin).await.text, "7");
}
