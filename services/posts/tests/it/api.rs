//! Writing and reading posts.

use events::posts::{PostCreated, PostDeleted, PostUpdated};
use serde_json::json;
use testkit::http::Answer;
use testkit::service::NOBODY;

use crate::harness::{ADA, BOB, ROOT, app, app_with};
use crate::stores::Store;

on_each_store!(
    a_post_is_published_read_changed_and_deleted,
    async |db: Store| {
        let app = app(&db);
        let created = app
            .post(
                ADA,
                r#"{"title":" Hello ","content":"  <b>&\r\n","tags":["Rust "," rust","b"]}"#,
            )
            .await;
        assert_eq!(created.status, 201);
        let body = created.ok();
        let id = body["id"].as_str().unwrap().to_owned();
        assert_eq!(
            body,
            json!({
                "id": id, "user_id": ADA, "username": "ada", "title": "Hello",
                "content": "  <b>&\r\n", "tags": ["rust", "b"],
                "created_at": body["created_at"], "updated_at": body["created_at"],
            })
        );
        assert_eq!(
            app.get(&format!("/api/posts/{id}")).await.text(),
            created.text()
        );

        let changed = app.put(ADA, &id, r#"{"title":"Bye"}"#).await.ok();
        let mut expected = body.clone();
        expected["title"] = json!("Bye");
        expected["updated_at"] = changed["updated_at"].clone();
        assert_eq!(changed, expected);
        assert_eq!(app.shown(&id).await, expected);

        let deleted = app.delete(ADA, &id).await;
        assert_eq!(deleted.text(), r#"{"message":"Post deleted successfully"}"#);
        assert_eq!(deleted.status, 200);
        app.get(&format!("/api/posts/{id}"))
            .await
            .problem(404, "post_not_found");
        app.delete(ADA, &id).await.problem(404, "post_not_found");
        app.put(ADA, &id, r#"{"title":"x"}"#)
            .await
            .problem(404, "post_not_found");

        let events = app.outbox().await;
        let versions: Vec<i64> = events.iter().map(|event| event.sequence).collect();
        assert_eq!(versions, [1, 2, 3]);
        assert!(events.iter().all(|event| event.subject == id));
        let first: PostCreated = events[0].open().unwrap().unwrap();
        assert_eq!(
            (first.username.as_str(), first.content.as_str()),
            ("ada", "  <b>&\r\n")
        );
        let second: PostUpdated = events[1].open().unwrap().unwrap();
        assert_eq!((second.title.as_str(), &second.tags), ("Bye", &first.tags));
        assert_eq!(second.created_at, first.created_at);
        assert_eq!(
            events[2].open::<PostDeleted>().unwrap().unwrap().user_id,
            ADA
        );
    }
);

on_each_store!(
    only_the_author_or_an_admin_changes_a_post,
    async |db: Store| {
        let app = app(&db);
        let id = app.published(ADA, "mine", &[]).await;
        app.put(BOB, &id, r#"{"title":"his"}"#)
            .await
            .problem(403, "forbidden");
        app.delete(BOB, &id).await.problem(403, "forbidden");
        assert_eq!(app.shown(&id).await["title"], "mine");
        assert_eq!(app.history(&id).await.len(), 1);
        let changed = app.put(ROOT, &id, r#"{"title":"moderated"}"#).await.ok();
        assert_eq!(
            (&changed["username"], &changed["user_id"]),
            (&json!("ada"), &json!(ADA))
        );
        app.delete(ROOT, &id).await.ok();
        app.get(&format!("/api/posts/{id}"))
            .await
            .problem(404, "post_not_found");
    }
);

on_each_store!(what_changes_nothing_writes_nothing, async |db: Store| {
    let app = app(&db);
    let id = app.published(ADA, "Hello", &["a"]).await;
    let before = app.shown(&id).await;
    for same in [
        "{}",
        r#"{"title":"Hello"}"#,
        r#"{"title":" Hello","content":"c","tags":["A"]}"#,
    ] {
        assert_eq!(app.put(ADA, &id, same).await.ok(), before, "{same}");
    }
    assert_eq!(app.history(&id).await, [("post.created".to_owned(), 1)]);
});

on_each_store!(
    changes_at_once_are_all_there_and_counted,
    async |db: Store| {
        for cache in [true, false] {
            let app = app_with(&db, cache);
            let id = app.published(ADA, "0", &[]).await;
            let put = |body: &'static str| app.put(ADA, &id, body);
            let answers = tokio::join!(
                put(r#"{"title":"1"}"#),
                put(r#"{"content":"2"}"#),
                put(r#"{"tags":["3"]}"#),
                put(r#"{"title":"4"}"#),
                put(r#"{"title":"5"}"#),
            );
            for answer in <[_; 5]>::from(answers) {
                answer.ok();
            }
            let post = app.shown(&id).await;
            assert_eq!(
                (&post["content"], &post["tags"]),
                (&json!("2"), &json!(["3"]))
            );
            let versions: Vec<i64> = app
                .history(&id)
                .await
                .iter()
                .map(|(_, version)| *version)
                .collect();
            assert_eq!(versions, [1, 2, 3, 4, 5, 6]);
        }
    }
);

on_each_store!(
    a_reader_that_has_a_post_is_told_so_until_it_changes,
    async |db: Store| {
        let app = app(&db);
        let id = app.published(ADA, "t", &[]).await;
        let path = format!("/api/posts/{id}");
        let ask = async |method: &str, tag: &str| {
            let tag = [("If-None-Match", tag)];
            app.send_with(method, &path, NOBODY, "", &tag).await
        };
        let etag = |of: &Answer| of.headers["etag"].to_str().unwrap().to_owned();
        let first = app.get(&path).await;
        let tag = etag(&first);
        assert_eq!(first.status, 200);
        for method in ["GET", "HEAD"] {
            let same = ask(method, &tag).await;
            assert_eq!(
                (same.status.as_u16(), same.body.len()),
                (304, 0),
                "{method}"
            );
            assert_eq!(etag(&same), tag);
        }
        let head = ask("HEAD", "\"other\"").await;
        assert_eq!(
            (head.status.as_u16(), head.body.len(), &etag(&head)),
            (200, 0, &tag)
        );
        app.put(ADA, &id, r#"{"title":"new"}"#).await.ok();
        let changed = ask("GET", &tag).await;
        assert_ne!(etag(&changed), tag);
        assert_eq!(changed.ok()["title"], "new");
        app.delete(ADA, &id).await.ok();
        ask("GET", "*").await.problem(404, "post_not_found");
    }
);
