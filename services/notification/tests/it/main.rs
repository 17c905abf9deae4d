//! Inboxes as their owners see them, filled by events.
#![expect(
    clippy::unwrap_used,
    reason = "a test that can't be set up should say where"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::body::{Body, to_bytes};
use blocks::bus::Record;
use blocks::{Caller, Role};
use chrono::DateTime;
use events::users::{UserAuthenticated, UserCreated, UserDeleted, UserUpdated};
use events::{Context, Envelope, Event};
use http::{Method, Request, StatusCode};
use notification::{MIGRATIONS, Notifications, ROUTES, service};
use serde_json::{Value, json};
use sql::{FaultPoint, Faults, on};
use testkit::db::TestDb;
use tower::ServiceExt;
use uuid::Uuid;

const SERVICE: &str = "notification";
const INBOX: &str = "/api/notifications";

struct World {
    db: TestDb,
    notifications: Notifications,
    offset: AtomicI64,
}

impl World {
    fn new(db: TestDb) -> Self {
        let notifications = Notifications::open(db.db.clone());
        Self {
            db,
            notifications,
            offset: AtomicI64::new(0),
        }
    }

    fn record<E: Event>(&self, event: &E, version: i64) -> Record {
        let time = DateTime::from_timestamp_millis(1_767_268_800_000).unwrap();
        let message = Envelope::new(
            Uuid::new_v4(),
            "test",
            time,
            version,
            Context::default(),
            event,
        )
        .unwrap()
        .message();
        Record {
            topic: message.topic,
            partition: 0,
            offset: self.offset.fetch_add(1, Ordering::SeqCst),
            key: Some(message.key),
            headers: message.headers,
            value: message.value,
            time,
        }
    }

    fn created(&self, user_id: i64, username: &str) -> Record {
        let event = UserCreated {
            user_id,
            username: username.into(),
            email: "somebody@example.test".into(),
            role: "user".into(),
        };
        self.record(&event, 1)
    }

    async fn apply(&self, records: &[Record]) {
        self.notifications
            .consumer()
            .store
            .apply(records)
            .await
            .unwrap();
    }

    async fn welcome(&self, user_id: i64) {
        self.apply(&[self.created(user_id, &format!("user-{user_id}"))])
            .await;
    }

    /// Puts something more into an inbox than there is an event for.
    async fn tell(&self, user_id: i64, about: &str) {
        let about = about.to_owned();
        self.db
            .write(move |tx| {
                Box::pin(async move {
                    let (id, now) = (tx.id(), tx.now());
                    on!(tx, conn => sqlx::query(
                        "insert into notifications (id, user_id, kind, about, title, body, created_at)
                         values ($1, $2, 'test', $3, $3, '', $4)")
                        .bind(id).bind(user_id).bind(about).bind(now)
                        .execute(&mut *conn).await.map(|_| ()))
                })
            })
            .await
            .map_err(|error: sql::StoreError| error)
            .unwrap();
    }

    async fn call(&self, method: Method, caller: Option<i64>, uri: &str) -> (StatusCode, Value) {
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .body(Body::empty())
            .unwrap();
        if let Some(id) = caller {
            request.extensions_mut().insert(Caller {
                id,
                name: "somebody".into(),
                email: "".into(),
                role: Role::User,
                session: Uuid::nil(),
            });
        }
        let router = service(&self.notifications).router.split_for_parts().0;
        let response = router.oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }

    async fn get(&self, caller: i64, uri: &str) -> Value {
        let (status, body) = self.call(Method::GET, Some(caller), uri).await;
        assert_eq!(status, 200, "{uri}: {body}");
        body
    }

    async fn post(&self, caller: i64, uri: &str) -> (StatusCode, Value) {
        self.call(Method::POST, Some(caller), uri).await
    }

    async fn titles(&self, caller: i64, query: &str) -> Vec<String> {
        titles(&self.get(caller, &format!("{INBOX}?{query}")).await)
    }

    async fn unread(&self, caller: i64) -> Value {
        self.get(caller, "/api/notifications/unread-count").await["unread_count"].clone()
    }
}

fn titles(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["title"].as_str().unwrap().to_owned())
        .collect()
}

testkit::on_each_database!(
    a_new_account_is_welcomed_by_its_name_once_however_often_the_event_comes,
    SERVICE,
    MIGRATIONS,
    |db: TestDb| async move {
        let world = World::new(db);
        let created = world.created(7, "anna");
        world.apply(std::slice::from_ref(&created)).await;
        // The same record again, the same event at another place, a new reading of the whole topic.
        world.apply(std::slice::from_ref(&created)).await;
        let again = world.created(7, "anna");
        world.apply(std::slice::from_ref(&again)).await;
        let store = &world.notifications.consumer().store;
        store.reset(&["user.events".to_owned()]).await.unwrap();
        store.starts_over();
        world.apply(&[created, again]).await;

        let page = world.get(7, INBOX).await;
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

struct LoseTheAnswer(AtomicI64);

impl Faults for LoseTheAnswer {
    fn fails(&self, point: FaultPoint) -> bool {
        point == FaultPoint::AfterCommit && self.0.fetch_sub(1, Ordering::SeqCst) > 0
    }
}

#[tokio::test]
async fn a_commit_that_was_not_answered_welcomes_nobody_twice() {
    let world = World::new(testkit::db::sqlite(SERVICE, MIGRATIONS).await);
    world.db.inject(Arc::new(LoseTheAnswer(AtomicI64::new(1))));
    let batch = [world.created(7, "anna"), world.created(8, "ben")];
    assert!(
        world
            .notifications
            .consumer()
            .store
            .apply(&batch)
            .await
            .is_err()
    );
    world.apply(&batch).await;
    for user in [7, 8] {
        assert_eq!(world.get(user, INBOX).await["total"], 1);
    }
}

testkit::on_each_database!(
    a_closed_account_leaves_no_inbox_and_other_events_tell_nothing,
    SERVICE,
    MIGRATIONS,
    |db: TestDb| async move {
        let world = World::new(db);
        world.welcome(7).await;
        world.welcome(8).await;
        let renamed = UserUpdated {
            user_id: 7,
            username: "anne".into(),
            role: "user".into(),
        };
        let entered = UserAuthenticated {
            user_id: 7,
            session_id: Uuid::nil(),
        };
        world
            .apply(&[world.record(&renamed, 2), world.record(&entered, 3)])
            .await;
        assert_eq!(world.get(7, INBOX).await["total"], 1);
        world
            .apply(&[world.record(&UserDeleted { user_id: 7 }, 4)])
            .await;
        assert_eq!(world.get(7, INBOX).await["total"], 0);
        assert_eq!(world.get(8, INBOX).await["total"], 1);
    }
);

testkit::on_each_database!(
    reading_is_noted_once_and_only_by_the_owner,
    SERVICE,
    MIGRATIONS,
    |db: TestDb| async move {
        let world = World::new(db);
        world.welcome(7).await;
        world.tell(7, "more").await;
        assert_eq!(world.unread(7).await, 2);
        let page = world.get(7, "/api/notifications?unread=true").await;
        let id = page["items"][1]["id"].as_str().unwrap().to_owned();
        let read = format!("{INBOX}/{id}/read");

        let (status, problem) = world.post(8, &read).await;
        assert_eq!(
            (status, &problem["error_code"]),
            (StatusCode::NOT_FOUND, &json!("notification_not_found"))
        );
        assert_eq!(world.unread(7).await, 2);

        let (status, marked) = world.post(7, &read).await;
        assert_eq!(status, 200);
        assert_eq!(marked["id"], id);
        assert!(marked["read_at"].is_string());
        assert_eq!(
            world.post(7, &read).await,
            (status, marked),
            "the time of reading stays"
        );
        assert_eq!(world.unread(7).await, 1);
        assert_eq!(world.titles(7, "unread=false").await, ["Welcome, user-7!"]);
        assert_eq!(world.titles(7, "unread=true").await, ["more"]);

        world.welcome(8).await;
        let read_all = "/api/notifications/read-all";
        assert_eq!(
            world.post(7, read_all).await,
            (StatusCode::OK, json!({"marked_read": 1}))
        );
        assert_eq!(
            world.post(7, read_all).await,
            (StatusCode::OK, json!({"marked_read": 0}))
        );
        assert_eq!(world.unread(7).await, 0);
        assert_eq!(world.unread(8).await, 1);
    }
);

testkit::on_each_database!(
    pages_are_newest_first_and_a_walk_by_cursor_meets_each_once_while_more_come,
    SERVICE,
    MIGRATIONS,
    |db: TestDb| async move {
        let world = World::new(db);
        for n in 1..=5 {
            world.tell(7, &n.to_string()).await;
        }
        world.tell(8, "somebody else's").await;
        assert_eq!(world.titles(7, "").await, ["5", "4", "3", "2", "1"]);
        assert_eq!(world.titles(7, "limit=2&skip=3").await, ["2", "1"]);
        let (mut met, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = world.get(7, &format!("{INBOX}?limit=2{cursor}")).await;
            met.extend(titles(&page));
            assert_eq!(page["limit"], 2);
            let Some(next) = page["next_cursor"].as_str() else {
                break;
            };
            cursor = format!("&cursor={next}");
            world.tell(7, &format!("new {}", met.len())).await;
        }
        assert_eq!(met, ["5", "4", "3", "2", "1"]);
        assert_eq!(world.get(7, INBOX).await["total"], 7);
    }
);

testkit::on_each_database!(
    a_total_is_counted_up_to_ten_thousand,
    SERVICE,
    MIGRATIONS,
    |db: TestDb| async move {
        let world = World::new(db);
        fill(&world, 10_000).await;
        world.tell(7, "one more").await;
        let page = world.get(7, &format!("{INBOX}?limit=1")).await;
        assert_eq!(
            (&page["total"], &page["total_is_at_least"]),
            (&10_000.into(), &true.into())
        );
        assert_eq!(world.unread(7).await, 10_001);
        let last = world
            .get(7, &format!("{INBOX}?limit=2&skip=10000&unread=true"))
            .await;
        assert_eq!(last["items"].as_array().unwrap().len(), 1);
        let none = world.get(7, &format!("{INBOX}?unread=false")).await;
        assert_eq!(
            (&none["total"], none.get("total_is_at_least")),
            (&0.into(), None)
        );
    }
);

/// Tells user 7 of `count` things at once, long ago.
async fn fill(world: &World, count: i64) {
    world
        .db
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
    let world = World::new(testkit::db::sqlite(SERVICE, MIGRATIONS).await);
    for (method, path) in [
        (Method::GET, ""),
        (Method::GET, "/unread-count"),
        (Method::POST, "/read-all"),
        (Method::POST, "/00000000-0000-7000-8000-000000000000/read"),
    ] {
        let (status, problem) = world.call(method, None, &format!("{INBOX}{path}")).await;
        assert_eq!(status, 401, "{path}");
        assert_eq!(problem["error_code"], "unauthenticated");
    }
}

#[tokio::test]
async fn bad_input_names_the_parameter_and_a_malformed_id_is_not_found() {
    let world = World::new(testkit::db::sqlite(SERVICE, MIGRATIONS).await);
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
        let (status, problem) = world
            .call(Method::GET, Some(7), &format!("{INBOX}?{query}"))
            .await;
        assert_eq!(status, 400, "{query}: {problem}");
        assert!(
            !problem["errors"][parameter].is_null(),
            "{query}: {problem}"
        );
    }
    for id in ["x", "1", "%00", "00000000-0000-7000-8000-000000000000"] {
        let (status, problem) = world.post(7, &format!("{INBOX}/{id}/read")).await;
        assert_eq!(status, 404, "{id}: {problem}");
        assert_eq!(problem["error_code"], "notification_not_found");
    }
    let page = world.get(7, &format!("{INBOX}?skip=10000")).await;
    assert_eq!(page["items"], json!([]));
}

#[tokio::test]
async fn every_endpoint_has_a_route_and_is_documented() {
    let world = World::new(testkit::db::sqlite(SERVICE, MIGRATIONS).await);
    let service = service(&world.notifications);
    let documented = service
        .router
        .get_openapi()
        .paths
        .paths
        .keys()
        .map(String::as_str);
    let mut documented: Vec<&str> = documented.collect();
    let mut routed: Vec<&str> = ROUTES.iter().map(|route| route.path).collect();
    documented.sort_unstable();
    routed.sort_unstable();
    assert_eq!(documented, routed);
}
