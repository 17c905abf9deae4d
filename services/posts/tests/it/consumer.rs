//! Posts after a rename or closing of their author.

use std::sync::Arc;

use blocks::ManualClock;
use chrono::TimeDelta;
use events::Traceparent;
use events::posts::{PostCreated, PostUpdated};
use events::users::{UserAuthenticated, UserCreated, UserDeleted, UserErased, UserUpdated};
use posts::NAME;
use posts::removal::PAGE;
use uuid::Uuid;

use crate::harness::{ADA, App, BOB, app};
use crate::stores::Store;

fn created(user_id: i64, username: &str) -> UserCreated {
    let username = username.to_owned();
    UserCreated {
        user_id,
        username,
        email: "a@example.org".into(),
        role: "user".into(),
        imported: false,
    }
}

fn renamed(user_id: i64, username: &str) -> UserUpdated {
    UserUpdated {
        user_id,
        username: username.to_owned(),
        role: "user".into(),
    }
}

on_each_store!(
    a_rename_shows_at_once_everywhere_and_in_later_events,
    async |db: Store| {
        let app = app(&db);
        // The post right after registration: the name came with the caller, the event comes later.
        let id = app.published(ADA, "t", &["t"]).await;
        assert_eq!(app.shown(&id).await["username"], "ada");
        app.get("/api/posts").await.ok();
        let records = [
            app.record(1, &created(ADA, "ada")),
            app.record(
                2,
                &UserAuthenticated {
                    user_id: ADA,
                    session_id: Uuid::nil(),
                },
            ),
            app.record(3, &renamed(ADA, "countess")),
        ];
        assert_eq!(app.deliver_twice(&records).await, 3);
        assert_eq!(app.shown(&id).await["username"], "countess");
        for query in ["", "?limit=5", "?tag=t"] {
            let page = app.get(&format!("/api/posts{query}")).await.ok();
            assert_eq!(page["items"][0]["username"], "countess", "{query}");
        }
        // Her token still says ada.
        let next = app.published(ADA, "u", &[]).await;
        assert_eq!(app.shown(&next).await["username"], "countess");
        app.put(ADA, &id, r#"{"title":"v"}"#).await.ok();
        let events = app.outbox().await;
        assert_eq!(
            events[0].open::<PostCreated>().unwrap().unwrap().username,
            "ada"
        );
        assert_eq!(
            events[1].open::<PostCreated>().unwrap().unwrap().username,
            "countess"
        );
        assert_eq!(
            events[2].open::<PostUpdated>().unwrap().unwrap().username,
            "countess"
        );
    }
);

on_each_store!(
    a_closed_account_loses_all_its_posts_and_writes_none,
    async |db: Store| {
        let app = app(&db);
        let mine = [
            app.published(ADA, "a", &["t"]).await,
            app.published(ADA, "b", &[]).await,
        ];
        let gone = app.published(ADA, "c", &["t"]).await;
        app.delete(ADA, &gone).await.ok();
        let others = app.published(BOB, "d", &[]).await;
        for id in &mine {
            app.shown(id).await;
        }
        let closed = [
            app.record(1, &created(ADA, "ada")),
            app.record(2, &UserDeleted { user_id: ADA }),
        ];
        assert_eq!(app.deliver_twice(&closed).await, 2);
        for id in &mine {
            app.get(&format!("/api/posts/{id}"))
                .await
                .problem(404, "post_not_found");
            let history = [
                ("post.created".to_owned(), 1),
                ("post.deleted".to_owned(), 2),
            ];
            assert_eq!(app.history(id).await, history);
        }
        let outbox = app.outbox().await.into_iter();
        let deleted = outbox.filter(|event| event.event_type == "post.deleted");
        let traces = deleted.filter_map(|event| event.context.traceparent);
        let traces: Vec<Traceparent> = traces.collect();
        assert_eq!(traces.len(), mine.len(), "those that the closing caused");
        for trace in traces {
            assert_eq!(trace.trace_id(), testkit::service::trace().trace_id());
            assert_ne!(trace.span_id(), testkit::service::trace().span_id());
        }
        assert_eq!(app.history(&gone).await.len(), 2);
        let page = app.get("/api/posts").await.ok();
        assert_eq!(
            (&page["total"], &page["items"][0]["id"]),
            (&1.into(), &others.clone().into())
        );
        assert_eq!(app.within.content_left().await, 1);
        // Her token may not have ended yet.
        app.post(ADA, r#"{"title":"t","content":"c"}"#)
            .await
            .problem(403, "account_deleted");
        app.put(ADA, &mine[0], r#"{"title":"t"}"#)
            .await
            .problem(404, "post_not_found");
        // A late event does not bring the name back.
        assert_eq!(app.deliver(&[app.record(3, &renamed(ADA, "ada"))]).await, 1);
        app.post(ADA, r#"{"title":"t","content":"c"}"#)
            .await
            .problem(403, "account_deleted");
        app.shown(&others).await;
    }
);

on_each_store!(
    a_post_that_is_written_while_its_account_is_closed_goes_or_is_refused,
    async |db: Store| {
        let app = app(&db);
        for user in 1..=20 {
            app.published(user, "t", &["t"]).await;
            let closed = [app.record(1, &UserDeleted { user_id: user })];
            let post = || app.post(user, r#"{"title":"t","content":"c","tags":["t"]}"#);
            let (a, b, _, c, d) =
                tokio::join!(post(), post(), app.deliver(&closed), post(), post());
            for answer in [a, b, c, d] {
                assert!([201, 403].contains(&answer.status.as_u16()), "{answer:?}");
            }
            assert_eq!(app.within.content_left().await, 0, "{user}");
        }
    }
);

on_each_store!(
    many_posts_of_a_closed_account_go_page_by_page,
    async |db: Store| {
        let app = app(&db);
        let count = usize::try_from(PAGE).unwrap() * 2 + 7;
        for _ in 0..count {
            app.published(ADA, "t", &["t"]).await;
        }
        assert_eq!(app.posts.removal().drain().await.unwrap(), 0);
        app.deliver(&[app.record(1, &UserDeleted { user_id: ADA })])
            .await;
        let left = app.get("/api/posts").await.ok()["total"].as_u64().unwrap();
        assert_eq!(left, count as u64 - PAGE.unsigned_abs());
        // A restart finds its work in the store.
        let restarted = crate::harness::app(&db);
        let removed = restarted.posts.removal().drain().await.unwrap();
        assert_eq!(removed as u64, left);
        assert_eq!(restarted.get("/api/posts").await.ok()["total"], 0);
        assert_eq!(app.within.content_left().await, 0);
        let deleted = app
            .outbox()
            .await
            .iter()
            .filter(|event| event.event_type == "post.deleted")
            .count();
        assert_eq!(deleted, count);
    }
);

/// The answers that accounts are erased: each account, and the number of its posts.
async fn answers(app: &App) -> Vec<(i64, u64)> {
    let outbox = app.outbox().await.into_iter();
    let answers = outbox.filter_map(|event| {
        let answer = event.open::<UserErased>()?.unwrap();
        assert_eq!((answer.service.as_str(), event.sequence), (NAME, 1));
        Some((answer.user_id, answer.records))
    });
    answers.collect()
}

/// Closes accounts that have fewer posts than a page, just one page, and more.
async fn erased(store: Store, clock: Arc<ManualClock>) {
    let app = app(&store);
    let page = PAGE.unsigned_abs();
    let counts = [(1, 0), (2, 3), (3, page), (4, page + 1)];
    for (user, count) in counts {
        for _ in 0..count {
            app.published(user, "t", &["t"]).await;
        }
    }
    let own = app.published(2, "deleted before", &[]).await;
    app.delete(2, &own).await.ok();
    let closed = [1, 2, 3, 4].map(|user_id| app.record(1, &UserDeleted { user_id }));
    app.deliver_twice(&closed).await;
    let early = answers(&app).await;
    assert!(
        early.iter().all(|(user, _)| *user < 3),
        "not before the last post is gone: {early:?}"
    );
    // A restarted process finds what is left to do.
    let restarted = crate::harness::app(&store);
    restarted.posts.removal().drain().await.unwrap();
    clock.advance(TimeDelta::seconds(20));
    restarted.posts.removal().drain().await.unwrap();
    assert_eq!(app.within.content_left().await, 0);
    let mut answered = answers(&app).await;
    answered.sort_unstable();
    assert_eq!(answered, counts);

    // Read again from the start, they are not answered again.
    let group = app.group();
    group.reset(&["user.events".to_owned()]).await.unwrap();
    assert!(group.apply(&closed).await.is_err());
    group.starts_over();
    group.begin_at("user.events", &[0]).await.unwrap();
    assert_eq!(app.deliver(&closed).await, 4);
    clock.advance(TimeDelta::seconds(20));
    restarted.posts.removal().drain().await.unwrap();
    assert_eq!(answers(&app).await.len(), counts.len());
}

#[tokio::test]
async fn an_erased_account_is_answered_once_with_the_number_of_its_posts() {
    let clock = Arc::new(ManualClock::default());
    erased(Store::memory_at(clock.clone()), clock.clone()).await;
    erased(Store::sqlite_at(clock.clone()).await, clock).await;
}

#[tokio::test]
#[ignore = "needs TEST_DATABASE_URL"]
async fn an_erased_account_is_answered_once_over_postgres() {
    let clock = Arc::new(ManualClock::default());
    erased(Store::postgres_at(clock.clone()).await, clock).await;
}

#[cfg(feature = "fleet")]
#[tokio::test]
#[ignore = "needs TEST_MONGODB_URL"]
async fn an_erased_account_is_answered_once_over_mongodb() {
    let clock = Arc::new(ManualClock::default());
    erased(Store::mongodb_at(clock.clone()).await, clock).await;
}

on_each_store!(
    names_read_again_from_the_start_come_out_the_same,
    async |db: Store| {
        let app = app(&db);
        let id = app.published(ADA, "t", &[]).await;
        let records = [
            app.record(1, &created(ADA, "first")),
            app.record(2, &renamed(ADA, "second")),
        ];
        app.deliver(&records).await;
        app.group()
            .reset(&["user.events".to_owned()])
            .await
            .unwrap();
        // A name that the log forgot stays.
        assert_eq!(app.shown(&id).await["username"], "second");
        // The member gets `Moved`, and asks for its offsets.
        assert!(app.group().apply(&records).await.is_err());
        app.group().starts_over();
        let positions = app.group().begin_at("user.events", &[0]).await;
        assert!(positions.unwrap().is_empty());
        assert_eq!(app.deliver(&records).await, 2);
        assert_eq!(app.shown(&id).await["username"], "second");
    }
);
