//! Notes as their owners meet them.

use events::users::UserDeleted;
use hello_service::{MIGRATIONS, NAME, service};
use testkit::db::TestDb;
use testkit::on_each_database;
use testkit::service::{App, NOBODY, texts};

const NOTES: &str = "/api/hello-service";

on_each_database!(
    a_note_is_its_owners_and_left_once,
    NAME,
    MIGRATIONS,
    async |db: TestDb| {
        let app = App::on(&db, service(&db));
        app.assert_routes_are_documented();
        let leave = async |note: &str, key: &str| app.post_keyed(1, NOTES, note, key).await;
        for text in ["one", " two ", "three"] {
            let note = format!(r#"{{"text":"{text}"}}"#);
            let first = leave(&note, text.trim()).await.expect(201);
            assert_eq!(leave(&note, text.trim()).await.expect(201), first);
        }
        let other = leave(r#"{"text":"four"}"#, "one").await;
        other.problem(422, "idempotency_key_reused");
        let page = app.get(1, &format!("{NOTES}?limit=2")).await.ok();
        assert_eq!(texts(&page, "text"), ["three", "two"]);
        assert_eq!(page["total"], 3);
        assert_eq!(app.get(2, NOTES).await.ok()["total"], 0);
        app.get(NOBODY, NOTES).await.problem(401, "unauthenticated");
        for bad in [r#"{"text":" "}"#, r"{}", r#"{"text":"t","more":1}"#] {
            let refused = app.post(1, NOTES, bad).await;
            refused.problem(400, "validation_failed");
        }

        let path = format!("{NOTES}/{}", texts(&page, "id")[0]);
        let read = app.get(1, &path).await;
        assert_eq!(read.ok(), page["items"][0]);
        assert_eq!(app.get_unless(1, &path, &read).await.status, 304);
        app.get(2, &path).await.problem(404, "note_not_found");

        let closed = [app.record(1, &UserDeleted { user_id: 1 })];
        assert_eq!(app.deliver_twice(&closed).await, 1);
        assert_eq!(app.get(1, NOTES).await.ok()["total"], 0);
        let late = app.post(1, NOTES, r#"{"text":"late"}"#).await;
        late.problem(403, "account_deleted");
    }
);
