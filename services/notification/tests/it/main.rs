//! Inboxes as their owners see them, filled by events.
#![expect(
    clippy::unwrap_used,
    reason = "a test that can't be set up should say where"
)]

use blocks::bus::Record;
use chrono::DateTime;
use events::users::{UserAuthenticated, UserCreated, UserDeleted, UserErased, UserUpdated};
use notification::{MIGRATIONS, Notifications, service};
use serde_json::{Value, json};
use sql::{FaultPoint, on};
use testkit::db::{TestDb, sqlite};
use testkit::faults::Fails;
use testkit::service::{App, NOBODY, texts};
use uuid::Uuid;

const SERVICE: &str = "notification";
const INBOX: &str = "/api/notifications";

fn app(db: &TestDb) -> App {
    App::on(db, service(&Notifications::open(db.db.clone())))
}

fn created(app: &App, user_id: i64, username: &str) -> Record {
    let event = UserCreated {
        user_id,
        username: username.into(),
        email: "somebody@example.test".into(),
        role: "user".into(),
        imported: false,
    };
    app.record(1, &event)
}

async fn welcome(app: &App, user_id: i64) {
    app.deliver(&[created(app, user_id, &format!("user-{user_id}"))])
        .await;
}

/// Puts something more into an inbox than there is an event for.
async fn tell(db: &TestDb, user_id: i64, about: &str) {
    let about = about.to_owned();
    let told = db.write(move |tx| {
        Box::pin(async move {
            let (id, now) = (tx.id(), tx.now());
            on!(tx, conn => sqlx::query(
                "insert into notifications (id, user_id, kind, about, title, body, created_at)
                 values ($1, $2, 'test', $3, $3, '', $4)")
                .bind(id).bind(user_id).bind(about).bind(now)
                .execute(&mut *conn).await.map(|_| ()))
        })
    });
    told.await.map_err(|error: sql::StoreError| error).unwrap();
}

async fn inbox(app: &App, user_id: i64) -> Value {
    app.get(user_id, INBOX).await.ok()
}

async fn titles_of(app: &App, user_id: i64, query: &str) -> Vec<String> {
    texts(
        &app.get(user_id, &format!("{INBOX}?{query}")).await.ok(),
        "title",
    )
}

async fn unread(app: &App, user_id: i64) -> Value {
    let count = app.get(user_id, "/api/notifications/unread-count").await;
    count.ok()["unread_count"].clone()
}

testkit::on_each_database!(
    an_imported_account_is_not_welcomed,
    SERVICE,
    MIGRATIONS,
    async |db: TestDb| {
        let app = app(&db);
        let event = UserCreated {
            user_id: 1,
            username: "ada".into(),
            email: "ada@example.test".into(),
            role: "user".into(),
            imported: true,
        };
        assert_eq!(app.deliver(&[app.record(1, &event)]).await, 1);
        assert_eq!(unread(&app, 1).await, 0);
    }
);

testkit::on_each_database!(
    a_new_account_is_welcomed_by_its_name_once_however_often_the_event_comes,
    SERVICE,
    MIGRATIONS,
    async |db: TestDb| {
        let app = app(&db);
        let first = created(&app, 7, "anna");
        app.deliver(std::slice::from_ref(&first)).await;
        // The same record again, the same event at another place, a new reading of the whole topic.
        app.deliver(std::slice::from_ref(&first)).await;
        let again = created(&app, 7, "anna");
        app.deliver(std::slice::from_ref(&again)).await;
        let store = app.group();
        store.reset(&["user.events".to_owned()]).await.unwrap();
        store.starts_over();
        app.deliver(&[first, again]).await;

        let page = inbox(&app, 7).await;
        assert_eq!(page["total"], 1);
        let item = &page["items"][0];
        assert_eq!(item["kind"], "welcome");
        assert_eq!(item["title"], "Welcome, anna!");
        assert!(item["body"].as_str().unwrap().contains("anna"));
        assert_eq!(item["read_at"], Value::Null);
        assert_eq!(
            item["id"]
                .as_str()
                .unwrap()
                .parse::<Uuid>()
                .unwrap()
                .get_version_num(),
            7
        );
        assert!(DateTime::parse_from_rfc3339(item["created_at"].as_str().unwrap()).is_ok());
        assert_eq!(item.as_object().unwrap().len(), 6);
    }
);

#[tokio::test]
async fn a_commit_that_was_not_answered_welcomes_nobody_twice() {
    let db = sqlite(SERVICE, MIGRATIONS).await;
    let app = app(&db);
    db.inject(Fails::once(FaultPoint::AfterCommit));
    let batch = [created(&app, 7, "anna"), created(&app, 8, "ben")];
    assert!(app.group().apply(&batch).await.is_err());
    app.deliver(&batch).await;
    for user in [7, 8] {
        assert_eq!(inbox(&app, user).await["total"], 1);
    }
}

testkit::on_each_database!(
    a_closed_account_leaves_no_inbox_and_other_events_tell_nothing,
    SERVICE,
    MIGRATIONS,
    async |db: TestDb| {
        let app = app(&db);
        welcome(&app, 7).await;
        welcome(&app, 8).await;
        let renamed = UserUpdated {
            user_id: 7,
            username: "anne".into(),
            role: "user".into(),
        };
        let entered = UserAuthenticated {
            user_id: 7,
            session_id: Uuid::nil(),
        };
        app.deliver(&[app.record(2, &renamed), app.record(3, &entered)])
            .await;
        assert_eq!(inbox(&app, 7).await["total"], 1);
        app.deliver(&[app.record(4, &UserDeleted { user_id: 7 })])
            .await;
        assert_eq!(inbox(&app, 7).await["total"], 0);
        assert_eq!(inbox(&app, 8).await["total"], 1);
        let answer: UserErased = app.drain().await[0].open().unwrap().unwrap();
        assert_eq!((answer.user_id, &*answer.service), (7, SERVICE));
        assert_eq!(answer.records, 1);
    }
);

testkit::on_each_database!(
    reading_is_noted_once_and_only_by_the_owner,
    SERVICE,
    MIGRATIONS,
    async |db: TestDb| {
        let app = app(&db);
        welcome(&app, 7).await;
        tell(&db, 7, "more").await;
        assert_eq!(unread(&app, 7).await, 2);
        let page = app.get(7, "/api/notifications?unread=true").await.ok();
        let id = page["items"][1]["id"].as_str().unwrap().to_owned();
        let read = format!("{INBOX}/{id}/read");

        let read = async |user: i64| app.post(user, &read, "").await;
        read(8).await.problem(404, "notification_not_found");
        assert_eq!(unread(&app, 7).await, 2);

        let marked = read(7).await.expect(200);
        assert_eq!(marked["id"], id);
        assert!(marked["read_at"].is_string());
        assert_eq!(
            read(7).await.expect(200),
            marked,
            "the time of reading stays"
        );
        assert_eq!(unread(&app, 7).await, 1);
        assert_eq!(
            titles_of(&app, 7, "unread=false").await,
            ["Welcome, user-7!"]
        );
        assert_eq!(titles_of(&app, 7, "unread=true").await, ["more"]);

        welcome(&app, 8).await;
        for marked in [1, 0] {
            let all = app.post(7, &format!("{INBOX}/read-all"), "").await;
            assert_eq!(all.expect(200), json!({"marked_read": marked}));
        }
        assert_eq!(unread(&app, 7).await, 0);
        assert_eq!(unread(&app, 8).await, 1);
    }
);

testkit::on_each_database!(
    pages_are_newest_first_and_a_walk_by_cursor_meets_each_once_while_more_come,
    SERVICE,
    MIGRATIONS,
    async |db: TestDb| {
        let app = app(&db);
        for n in 1..=5 {
            tell(&db, 7, &n.to_string()).await;
        }
        tell(&db, 8, "somebody else's").await;
        assert_eq!(titles_of(&app, 7, "").await, ["5", "4", "3", "2", "1"]);
        assert_eq!(titles_of(&app, 7, "limit=2&skip=3").await, ["2", "1"]);
        let (mut met, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = app.get(7, &format!("{INBOX}?limit=2{cursor}")).await.ok();
            met.extend(texts(&page, "title"));
            assert_eq!(page["limit"], 2);
            let Some(next) = page["next_cursor"].as_str() else {
                break;
            };
            cursor = format!("&cursor={next}");
            tell(&db, 7, &format!("new {}", met.len())).await;
        }
        assert_eq!(met, ["5", "4", "3", "2", "1"]);
        assert_eq!(inbox(&app, 7).await["total"], 7);
    }
);

testkit::on_each_database!(
    a_total_is_counted_up_to_ten_thousand,
    SERVICE,
    MIGRATIONS,
    async |db: TestDb| {
        let app = app(&db);
        fill(&db, 10_000).await;
        tell(&db, 7, "one more").await;
        let page = app.get(7, &format!("{INBOX}?limit=1")).await.ok();
        assert_eq!(
            (&page["total"], &page["total_is_at_least"]),
            (&10_000.into(), &true.into())
        );
        assert_eq!(unread(&app, 7).await, 10_001);
        let end = format!("{INBOX}?limit=2&skip=10000&unread=true");
        let last = app.get(7, &end).await.ok();
        assert_eq!(last["items"].as_array().unwrap().len(), 1);
        let none = app.get(7, &format!("{INBOX}?unread=false")).await.ok();
        assert_eq!(
            (&none["total"], none.get("total_is_at_least")),
            (&0.into(), None)
        );
    }
);

/// Tells user 7 of `count` things at once, long ago.
async fn fill(db: &TestDb, count: i64) {
    db
        .write(move |tx| {
            Box::pin(async move {
                let ids: Vec<Uuid> = (0..count).map(|_| tx.id()).collect();
                let at = DateTime::from_timestamp_millis(1_000_000_000_000).unwrap();
                for id in ids {
                    on!(tx, conn => sqlx::query(
                        "insert into notifications (id, user_id, kind, about, title, body, created_at)
                         values ($1, 7, 'test', $2, 't', 'b', $3)",
                    )
                    .bind(id)
                    .bind(id.to_string())
                    .bind(at)
                    .execute(&mut *conn)
                    .await
                    .map(|_| ()))?;
                }
                Ok::<_, sql::StoreError>(())
            })
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn nobody_gets_in_without_signing_in() {
    let db = sqlite(SERVICE, MIGRATIONS).await;
    let app = app(&db);
    for (method, path) in [
        ("GET", ""),
        ("GET", "/unread-count"),
        ("POST", "/read-all"),
        ("POST", "/00000000-0000-7000-8000-000000000000/read"),
    ] {
        let path = format!("{INBOX}{path}");
        app.send(method, &path, NOBODY, "")
            .await
            .problem(401, "unauthenticated");
    }
}

#[tokio::test]
async fn bad_input_names_the_parameter_and_a_malformed_id_is_not_found() {
    let db = sqlite(SERVICE, MIGRATIONS).await;
    let app = app(&db);
    for (query, parameter) in [
        ("limit=0", "limit"),
        ("limit=1000", "limit"),
        ("skip=-1", "skip"),
        ("unread=maybe", "unread"),
        ("unread=", "unread"),
        ("unread=true&unread=false", "unread"),
        ("cursor=nonsense!", "cursor"),
        ("cursor=WzEsMiwzXQ", "cursor"),
        (
            "cursor=WzkyMjMzNzIwMzY4NTQ3NzU4MDcsIjAwMDAwMDAwLTAwMDAtMDAwMC0wMDAwLTAwMDAwMDAwMDAwMCJd",
            "cursor",
        ),
    ] {
        let answer = app.get(7, &format!("{INBOX}?{query}")).await;
        let named = answer.problem(400, "validation_failed");
        assert_eq!(named, [parameter], "{query}");
    }
    for id in ["x", "1", "%00", "00000000-0000-7000-8000-000000000000"] {
        app.post(7, &format!("{INBOX}/{id}/read"), "")
            .await
            .problem(404, "notification_not_found");
    }
    let page = app.get(7, &format!("{INBOX}?skip=10000")).await.ok();
    assert_eq!(page["items"], json!([]));
}

#[tokio::test]
async fn every_endpoint_has_a_route_and_is_documented() {
    let db = sqlite(SERVICE, MIGRATIONS).await;
    let app = app(&db);
    app.assert_routes_are_documented();
}
