//! An answer from memory is what the store would have answered.

use std::sync::Arc;

use events::users::UserUpdated;

use crate::harness::{ADA, app, app_with};
use crate::stores::Store;

on_each_store!(
    a_reader_sees_its_own_write_while_others_read,
    async |db: Store| {
        let app = Arc::new(app(&db));
        let id = app.published(ADA, "0", &[]).await;
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        // Readers that keep filling the memory with whatever they find.
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let (app, id, stop) = (Arc::clone(&app), id.clone(), Arc::clone(&stop));
                #[expect(clippy::disallowed_methods, reason = "joined below")]
                tokio::spawn(async move {
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        app.shown(&id).await;
                        app.get("/api/posts").await.ok();
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        for number in 1..=150 {
            let title = number.to_string();
            if number % 10 == 0 {
                let event = UserUpdated {
                    user_id: ADA,
                    username: title.clone(),
                    role: "user".into(),
                };
                let renamed = app.record(number / 10, &event);
                assert_eq!(app.deliver(&[renamed]).await, 1);
                assert_eq!(app.shown(&id).await["username"], *title);
                assert_eq!(
                    app.get("/api/posts").await.ok()["items"][0]["username"],
                    *title
                );
            } else {
                app.put(ADA, &id, &format!(r#"{{"title":"{title}"}}"#))
                    .await
                    .ok();
                assert_eq!(app.shown(&id).await["title"], *title);
                assert_eq!(
                    app.get("/api/posts").await.ok()["items"][0]["title"],
                    *title
                );
            }
        }
        app.delete(ADA, &id).await.ok();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        app.get(&format!("/api/posts/{id}"))
            .await
            .problem(404, "post_not_found");
        assert_eq!(app.get("/api/posts").await.ok()["total"], 0);
        for reader in readers {
            // They fail once the post is gone, which is not tested here.
            reader.abort();
            let _ = reader.await;
        }
    }
);

on_each_store!(
    answers_are_the_same_bytes_with_and_without_memory,
    async |db: Store| {
        let (with, without) = (app_with(&db, true), app_with(&db, false));
        let id = with.published(ADA, "t", &["a", "b"]).await;
        for path in [
            format!("/api/posts/{id}"),
            "/api/posts".into(),
            "/api/posts?limit=1".into(),
        ] {
            let first = with.get(&path).await;
            assert_eq!(first.text(), with.get(&path).await.text());
            assert_eq!(first.text(), without.get(&path).await.text());
            assert_eq!(
                first.headers["content-type"],
                without.get(&path).await.headers["content-type"]
            );
        }
    }
);

on_each_store!(
    without_memory_the_writes_of_other_processes_are_seen,
    async |db: Store| {
        let (here, there) = (app_with(&db, false), app_with(&db, false));
        let id = here.published(ADA, "1", &[]).await;
        assert_eq!(there.shown(&id).await["title"], "1");
        here.put(ADA, &id, r#"{"title":"2"}"#).await.ok();
        assert_eq!(there.shown(&id).await["title"], "2");
        assert_eq!(there.get("/api/posts").await.ok()["items"][0]["title"], "2");
    }
);
