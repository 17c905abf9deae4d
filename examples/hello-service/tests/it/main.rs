//! Notes as their owners meet them.

use events::users::UserDeleted;
use hello_service::{MIGRATIONS, NAME, service};
use testkit::db::TestDb;
use testkit::on_each_database;
use testkit::service::{App, NOBODY, texts};

const NOTES: &str = "/api/hello-service";

on_each_database!(
    a_note_is_its_owners,
    NAME,
    MIGRATIONS,
    async |db: TestDb| {
        let app = App::on(&db, service(&db));
        app.assert_routes_are_documented();
        for text in ["one", " two ", "three"] {
            let note = format!(r#"{{"text":"{text}"}}"#);
            app.post(1, NOTES, &note).await.expect(201);
        }
        let page = app.get(1, &format!("{NOTES}?limit=2")).await.ok();
        assert_eq!(
            (texts(&page, "text"), &page["total"]),
            (vec!["three".into(), "two".into()], &3.into())
        );
        assert_eq!(app.get(2, NOTES).await.ok()["total"], 0);
        app.get(NOBODY, NOTES).await.problem(401, "unauthenticated");
        for bad in [r#"{"text":" "}"#, r"{}", r#"{"text":"t","more":1}"#] {
            app.post(1, NOTES, bad)
                .await
                .problem(400, "validation_failed");
        }

        let closed = [app.record(1, &UserDeleted { user_id: 1 })];
        assert_eq!(app.deliver_twice(&closed).await, 1);
        assert_eq!(app.get(1, NOTES).await.ok()["total"], 0);
        app.post(1, NOTES, r#"{"text":"late"}"#)
            .await
            .problem(403, "account_deleted");
    }
);
