//! Lists: newest first, by page and by cursor, filtered.

use serde_json::{Value, json};
use testkit::service::texts;

use crate::harness::{ADA, App, BOB, app};
use crate::stores::Store;

fn titles(page: &Value) -> Vec<String> {
    texts(page, "title")
}

async fn list(app: &App, query: &str) -> Value {
    app.get(&format!("/api/posts{query}")).await.ok()
}

/// Posts `0` … with the tag `t`, every third by Bob, every even one also with `even`.
async fn fill(app: &App, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..count {
        let who = if number % 3 == 0 { BOB } else { ADA };
        let tags: &[&str] = if number % 2 == 0 {
            &["t", "even"]
        } else {
            &["t"]
        };
        ids.push(app.published(who, &number.to_string(), tags).await);
    }
    ids
}

on_each_store!(
    pages_by_skip_are_newest_first_and_count_all,
    async |db: Store| {
        let app = app(&db);
        let empty = list(&app, "").await;
        assert_eq!(
            empty,
            json!({"items": [], "limit": 20, "next_cursor": null, "skip": 0, "total": 0})
        );
        fill(&app, 25).await;
        let first = list(&app, "").await;
        assert_eq!(
            titles(&first),
            (5..25).rev().map(|n| n.to_string()).collect::<Vec<_>>()
        );
        assert_eq!(
            (&first["total"], &first["limit"], &first["skip"]),
            (&25.into(), &20.into(), &0.into())
        );
        let second = list(&app, "?limit=3&skip=23").await;
        assert_eq!(titles(&second), ["1", "0"]);
        assert_eq!(second["next_cursor"], Value::Null);
        assert_eq!(titles(&list(&app, "?limit=100&skip=10000").await), [""; 0]);
        let beyond = list(&app, "?skip=25").await;
        assert_eq!(
            (&beyond["total"], &beyond["skip"]),
            (&25.into(), &25.into())
        );
        assert_eq!(beyond["next_cursor"], Value::Null);
        // A page that ends exactly with the list is the last one.
        assert_eq!(list(&app, "?limit=25").await["next_cursor"], Value::Null);
        assert_ne!(list(&app, "?limit=24").await["next_cursor"], Value::Null);
    }
);

on_each_store!(
    filters_by_author_and_tag_select_and_count,
    async |db: Store| {
        let app = app(&db);
        fill(&app, 12).await;
        let cases: [(&str, &[&str]); 8] = [
            ("?user_id=2", &["9", "6", "3", "0"]),
            ("?tag=even", &["10", "8", "6", "4", "2", "0"]),
            ("?tag=%20EVEN+", &["10", "8", "6", "4", "2", "0"]),
            ("?tag=even&user_id=2", &["6", "0"]),
            ("?tag=odd", &[]),
            ("?user_id=77", &[]),
            ("?user_id=-1", &[]),
            ("?tag=t%27%20or%201=1", &[]),
        ];
        for (query, expected) in cases {
            let page = list(&app, query).await;
            assert_eq!(titles(&page), expected, "{query}");
            assert_eq!(page["total"], expected.len(), "{query}");
        }
        for (query, expected) in [
            ("?tag=even&user_id=2&limit=1&skip=1", ["0"]),
            ("?tag=even&limit=1&skip=4", ["2"]),
            ("?user_id=2&limit=1&skip=2", ["3"]),
        ] {
            assert_eq!(titles(&list(&app, query).await), expected, "{query}");
        }
    }
);

on_each_store!(
    cursor_pages_neither_repeat_nor_skip_while_posts_come_and_go,
    async |db: Store| {
        let app = app(&db);
        let ids = fill(&app, 20).await;
        for query in [
            "limit=3",
            "limit=3&tag=t",
            "limit=2&user_id=2",
            "limit=2&tag=t&user_id=1",
        ] {
            let all = list(
                &app,
                &format!(
                    "?{}&limit=100",
                    query.split_once('&').map_or("", |(_, rest)| rest)
                ),
            )
            .await;
            let mut seen = Vec::new();
            let mut cursor = String::new();
            loop {
                let page = list(&app, &format!("?{query}{cursor}")).await;
                assert_eq!(page["skip"], 0);
                seen.extend(titles(&page));
                // Posts newer than the cursor don't move those after it.
                app.published(ADA, "new", &["t"]).await;
                app.published(BOB, "new", &["t"]).await;
                let Some(next) = page["next_cursor"].as_str() else {
                    break;
                };
                cursor = format!("&cursor={next}");
            }
            assert_eq!(seen, titles(&all), "{query}");
            for post in list(&app, "?limit=100").await["items"].as_array().unwrap() {
                if post["title"] == "new" {
                    let author = post["user_id"].as_i64().unwrap();
                    app.delete(author, post["id"].as_str().unwrap()).await.ok();
                }
            }
        }
        // The post that the cursor points at goes: the next page is the same.
        let page = list(&app, "?limit=5").await;
        let next = format!("?limit=2&cursor={}", page["next_cursor"].as_str().unwrap());
        let before = titles(&list(&app, &next).await);
        app.delete(BOB, &ids[15]).await.ok();
        assert_eq!(titles(&list(&app, &next).await), before);
        assert_eq!(before, ["14", "13"]);
    }
);

on_each_store!(lists_follow_changes_and_deletions, async |db: Store| {
    let app = app(&db);
    let ids = fill(&app, 4).await;
    assert_eq!(titles(&list(&app, "").await), ["3", "2", "1", "0"]);
    app.put(ADA, &ids[1], r#"{"title":"one","tags":["new","even"]}"#)
        .await
        .ok();
    // A change does not move a post.
    assert_eq!(titles(&list(&app, "").await), ["3", "2", "one", "0"]);
    assert_eq!(titles(&list(&app, "?tag=even").await), ["2", "one", "0"]);
    assert_eq!(titles(&list(&app, "?tag=t").await), ["3", "2", "0"]);
    app.delete(ADA, &ids[2]).await.ok();
    for (query, expected) in [
        ("", vec!["3", "one", "0"]),
        ("?tag=even", vec!["one", "0"]),
        ("?user_id=1", vec!["one"]),
    ] {
        let page = list(&app, query).await;
        assert_eq!(titles(&page), expected, "{query}");
        assert_eq!(page["total"], expected.len(), "{query}");
    }
});
