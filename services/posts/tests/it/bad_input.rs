//! Whatever comes in, the answer is a problem that names the field, and never a 5xx.

use blocks::extract::Cursor;
use testkit::service::NOBODY;
use uuid::Uuid;

use crate::harness::{ADA, app, caller};
use crate::stores::Store;

on_each_store!(a_bad_body_is_refused_by_name, async |db: Store| {
    let app = app(&db);
    let id = app.published(ADA, "stays", &["t"]).await;
    let long = |count: usize| "ü".repeat(count);
    let many: Vec<String> = (0..21).map(|number| format!("\"{number}\"")).collect();
    // Wrong in a new post and in a change.
    let cases = [
        (r#""title":1,"content":"c""#.to_owned(), "title"),
        (r#""title":null,"content":"c""#.to_owned(), "title"),
        (r#""title":"  ","content":"c""#.to_owned(), "title"),
        (format!(r#""title":"{}","content":"c""#, long(201)), "title"),
        (r#""title":"t","content":"""#.to_owned(), "content"),
        (r#""title":"t","content":{}"#.to_owned(), "content"),
        (r#""title":"t","content":null"#.to_owned(), "content"),
        (
            format!(r#""title":"t","content":"{}""#, long(20_001)),
            "content",
        ),
        (r#""title":"t","content":"a\u0000b""#.to_owned(), "content"),
        (r#""title":"t","content":"c","tags":"x""#.to_owned(), "tags"),
        (
            r#""title":"t","content":"c","tags":null"#.to_owned(),
            "tags",
        ),
        (
            r#""title":"t","content":"c","tags":["a",1]"#.to_owned(),
            "tags[1]",
        ),
        (
            r#""title":"t","content":"c","tags":["a",null]"#.to_owned(),
            "tags[1]",
        ),
        (
            r#""title":"t","content":"c","tags":["a"," "]"#.to_owned(),
            "tags[1]",
        ),
        (
            r#""title":"t","content":"c","tags":["\u0000"]"#.to_owned(),
            "tags[0]",
        ),
        (
            format!(r#""title":"t","content":"c","tags":["{}"]"#, long(51)),
            "tags[0]",
        ),
        (
            format!(r#""title":"t","content":"c","tags":[{}]"#, many.join(",")),
            "tags",
        ),
        (
            r#""title":"t","title":"u","content":"c""#.to_owned(),
            "title",
        ),
        (r#""title":"t","content":"c","body":1"#.to_owned(), "body"),
    ];
    for (fields, field) in &cases {
        let body = format!("{{{fields}}}");
        assert_eq!(
            app.post(ADA, &body).await.problem(400, "validation_failed"),
            [*field],
            "{body}"
        );
        assert_eq!(
            app.put(ADA, &id, &body)
                .await
                .problem(400, "validation_failed"),
            [*field],
            "{body}"
        );
    }
    for (body, field) in [
        ("{}", "title"),
        (r#"{"title":"t"}"#, "content"),
        ("[1]", "body"),
        ("7", "body"),
    ] {
        assert_eq!(
            app.post(ADA, body).await.problem(400, "validation_failed"),
            [field],
            "{body}"
        );
    }
    for body in [
        "",
        "{",
        r#"{"title":"t","content":"c"} x"#,
        "{\"title\":\"\u{1}\"}",
    ] {
        app.post(ADA, body).await.problem(400, "malformed_json");
        app.put(ADA, &id, body).await.problem(400, "malformed_json");
    }
    let both = app
        .post(ADA, r#"{"title":"","content":"","tags":[""]}"#)
        .await;
    assert_eq!(
        both.problem(400, "validation_failed"),
        ["content", "tags[0]", "title"]
    );
    assert_eq!(app.outbox().await.len(), 1);
    assert_eq!(app.shown(&id).await["title"], "stays");
    let huge = format!(r#"{{"title":"t","content":"{}"}}"#, "x".repeat(1 << 20));
    app.post(ADA, &huge).await.problem(413, "body_too_large");
});

on_each_store!(an_id_that_is_none_is_not_found, async |db: Store| {
    let app = app(&db);
    let id = app.published(ADA, "t", &[]).await;
    let simple = id.replace('-', "");
    let ids = [
        Uuid::from_u128(7).to_string(),
        Uuid::nil().to_string(),
        simple,
        format!("%7B{id}%7D"),
        format!("urn:uuid:{id}"),
        format!("{id}%20"),
        "1".into(),
        "x".repeat(500),
        "%00".into(),
        "%FF".into(),
        "'%20or%201=1".into(),
    ];
    for id in &ids {
        app.get(&format!("/api/posts/{id}"))
            .await
            .problem(404, "post_not_found");
        app.put(ADA, id, r#"{"title":"x"}"#)
            .await
            .problem(404, "post_not_found");
        app.delete(ADA, id).await.problem(404, "post_not_found");
    }
    assert_eq!(app.shown(&id.to_uppercase()).await["id"], id);
});

on_each_store!(a_bad_parameter_is_refused_by_name, async |db: Store| {
    let app = app(&db);
    app.published(ADA, "t", &["t"]).await;
    let cursor = |millis: i64| Cursor::encode(&(millis, Uuid::nil())).as_str().to_owned();
    let cases = [
        ("limit=0".to_owned(), "limit"),
        ("limit=-1".to_owned(), "limit"),
        ("limit=101".to_owned(), "limit"),
        ("limit=99999999999999999999".to_owned(), "limit"),
        ("limit=ten".to_owned(), "limit"),
        ("limit=".to_owned(), "limit"),
        ("skip=-1".to_owned(), "skip"),
        ("skip=1.5".to_owned(), "skip"),
        ("user_id=x".to_owned(), "user_id"),
        ("user_id=99999999999999999999".to_owned(), "user_id"),
        ("tag=%00".to_owned(), "tag"),
        ("tag=%FF".to_owned(), "tag"),
        (format!("tag={}", "x".repeat(51)), "tag"),
        ("cursor=x".to_owned(), "cursor"),
        ("cursor=".to_owned(), "cursor"),
        ("cursor=e30".to_owned(), "cursor"),
        (format!("cursor={}", cursor(-1)), "cursor"),
        (format!("cursor={}", cursor(i64::MAX)), "cursor"),
        (format!("cursor={}", cursor(253_402_300_800_000)), "cursor"),
        (format!("skip=1&cursor={}", cursor(1)), "skip"),
        ("limit=1&limit=2".to_owned(), "limit"),
    ];
    for (query, field) in &cases {
        let answer = app.get(&format!("/api/posts?{query}")).await;
        assert_eq!(
            answer.problem(400, "validation_failed"),
            [*field],
            "{query}"
        );
    }
    // As a form sends a tag that was left out, and as clients send the default.
    let all = app.get("/api/posts?tag=&user_id=1").await.ok();
    assert_eq!(all["items"].as_array().unwrap().len(), 1);
    let cursor_at = cursor(253_402_300_799_999);
    app.get(&format!("/api/posts?skip=0&cursor={cursor_at}"))
        .await
        .ok();
    for good in [cursor(0), cursor(253_402_300_799_999)] {
        app.get(&format!("/api/posts?cursor={good}")).await.ok();
        app.get(&format!("/api/posts?tag=t&cursor={good}"))
            .await
            .ok();
    }
});

on_each_store!(
    nobody_writes_without_an_identity_or_as_plain_text,
    async |db: Store| {
        let app = app(&db);
        let id = app.published(ADA, "t", &[]).await;
        let one = format!("/api/posts/{id}");
        app.send("POST", "/api/posts", NOBODY, "{}")
            .await
            .problem(401, "unauthenticated");
        app.send("PUT", &one, NOBODY, "{}")
            .await
            .problem(401, "unauthenticated");
        app.send("DELETE", &one, NOBODY, "")
            .await
            .problem(401, "unauthenticated");
        let plain = axum::http::Request::post("/api/posts").body("{}").unwrap();
        assert_eq!(app.give(plain, caller(ADA)).await.status, 415);
        assert_eq!(app.outbox().await.len(), 1);
    }
);
