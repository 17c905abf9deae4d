//! The port's promises, tested on every adapter directly.

use blocks::FieldErrors;
use blocks::extract::{Keyset, Span};
use posts::domain::{Author, Changes, Draft, Limits, Post, Tag};
use posts::store::{Filter, PostStore};
use uuid::Uuid;

use crate::harness::{App, app};
use crate::stores::Store;

fn draft(title: &str) -> Draft {
    Draft::new(title, "c".into(), &["t".into()], &Limits::default()).unwrap()
}

fn ada() -> Author {
    Author {
        id: 1,
        name: "ada".into(),
    }
}

fn retitle(title: &str) -> Changes {
    let title = Some(title.to_owned());
    Changes::new(
        title,
        None,
        None,
        &Limits::default(),
        FieldErrors::default(),
    )
    .unwrap()
}

async fn versions(app: &App, post: &Post) -> Vec<i64> {
    app.history(&post.id.to_string())
        .await
        .into_iter()
        .map(|(_, version)| version)
        .collect()
}

on_each_store!(
    a_write_about_an_older_version_changes_nothing,
    async |db: Store| {
        let app = app(&db);
        let store: &dyn PostStore = app.posts.store();
        let first = store.create(draft("1"), ada(), None).await.unwrap();
        let (second, event) = first.change(retitle("2"), first.created_at).unwrap();
        assert!(store.update(&second, &event).await.unwrap());
        assert!(!store.update(&second, &event).await.unwrap());
        assert!(!store.delete(&first, &first.deleted()).await.unwrap());
        assert_eq!(store.get(first.id).await.unwrap(), Some(second.clone()));
        assert!(store.delete(&second, &second.deleted()).await.unwrap());
        assert!(!store.delete(&second, &second.deleted()).await.unwrap());
        let (third, event) = second.change(retitle("3"), first.created_at).unwrap();
        assert!(!store.update(&third, &event).await.unwrap());
        assert_eq!(store.get(first.id).await.unwrap(), None);
        assert_eq!(versions(&app, &first).await, [1, 2, 3]);
    }
);

on_each_store!(what_was_stored_comes_back, async |db: Store| {
    let app = app(&db);
    let store = app.posts.store();
    let tags: Vec<String> = ["ü", "a\"b", "c d", "\\"].map(str::to_owned).to_vec();
    let draft = Draft::new(
        "😀 '\"",
        "\u{1}\r\n\t{{x}}".into(),
        &tags,
        &Limits::default(),
    )
    .unwrap();
    let post = store.create(draft, ada(), None).await.unwrap();
    assert_eq!(store.get(post.id).await.unwrap(), Some(post.clone()));
    for tag in post.tags.clone() {
        let filter = Filter {
            user_id: None,
            tag: Some(tag),
        };
        let found = store.newest(&filter, Span::first(10)).await.unwrap();
        assert_eq!(found, std::slice::from_ref(&post));
        assert_eq!(store.count(&filter).await.unwrap(), 1);
    }
    assert_eq!(store.get(Uuid::nil()).await.unwrap(), None);
});

on_each_store!(
    posts_of_one_moment_are_told_apart_by_id,
    async |db: Store| {
        let app = app(&db);
        let store = app.posts.store();
        let mut made = Vec::new();
        for number in 0..30 {
            made.push(
                store
                    .create(draft(&number.to_string()), ada(), None)
                    .await
                    .unwrap(),
            );
        }
        made.sort_by_key(|post| std::cmp::Reverse((post.created_at, post.id)));
        for tag in [None, Tag::parse("t", &Limits::default()).ok()] {
            let filter = Filter { user_id: None, tag };
            let mut span = Span::first(1);
            let mut seen = Vec::new();
            loop {
                let page = store.newest(&filter, span).await.unwrap();
                let Some(last) = page.last() else { break };
                span.after = Keyset::new(last.created_at, last.id);
                seen.extend(page);
            }
            assert_eq!(seen, made);
        }
    }
);

on_each_store!(a_tombstone_keeps_no_content, async |db: Store| {
    let app = app(&db);
    let store = app.posts.store();
    let post = store.create(draft("secret"), ada(), None).await.unwrap();
    store.delete(&post, &post.deleted()).await.unwrap();
    assert_eq!(app.within.content_left().await, 0);
    assert_eq!(app.within.version_of(post.id).await, 2);
});
