//! Notification as processes of their own, over PostgreSQL and Kafka, with keys asked of auth.
#![expect(clippy::unwrap_used, reason = "a test says where it broke")]

use std::sync::Arc;

use axum::routing::get;
use axum::{Json, Router};
use blocks::bus::{EventBus, TopicSpec};
use blocks::identity::{AssertionClaims, ISSUER, SigningKey};
use blocks::{Caller, Clock, Role, SystemClock};
use events::users::UserCreated;
use events::{Context, Envelope};
use runtime::fleet::kafka::{KafkaBus, Settings};
use serde_json::{Value, json};
use testkit::broker::Broker;
use testkit::fleet::{Alone, Database, free_port};
use testkit::http::{Answer, eventually};
use uuid::Uuid;

const NOTIFICATION: &str = env!("CARGO_BIN_EXE_notification");

/// Stands in for auth: its keys are at `port` from now on.
async fn publish_keys(key: &SigningKey, port: u16) {
    let jwks = json!({"keys": [key.public()]});
    let router = Router::new().route("/.well-known/jwks.json", get(async || Json(jwks)));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port))
        .await
        .unwrap();
    #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
}

/// A request as the gateway passes it on, for account `id`.
async fn inbox(service: &Alone, key: &SigningKey, id: i64) -> Answer {
    let caller = Caller {
        id,
        name: "ada".into(),
        email: "".into(),
        role: Role::User,
        session: Uuid::from_u128(1),
    };
    let assertion = AssertionClaims::of(&caller, ISSUER, SystemClock.now()).sign(key);
    let request = service
        .client
        .request("GET", "/api/notifications?limit=100")
        .header("X-User-ID", id)
        .header("X-Identity", assertion);
    service.client.give(request.body("").unwrap()).await
}

fn created(id: i64) -> UserCreated {
    UserCreated {
        user_id: id,
        username: format!("user-{id}"),
        email: format!("user-{id}@example.org"),
        role: "user".into(),
    }
}

async fn publish(bus: &KafkaBus, ids: std::ops::Range<i64>) {
    let messages: Vec<_> = ids
        .map(|id| {
            let (time, event) = (SystemClock.now(), created(id));
            let of = Context::default();
            Envelope::new(SystemClock.id(), "auth", time, 1, of, &event)
                .unwrap()
                .message()
        })
        .collect();
    bus.publish(&messages).await.unwrap();
}

/// Waits until each of these accounts was told something, and holds it to be once.
async fn told_once(service: &Alone, key: &SigningKey, ids: std::ops::Range<i64>) {
    for id in ids {
        let told: Value = eventually("an account is told of", async || {
            let said = inbox(service, key, id).await.expect(200);
            (said["total"] != 0).then_some(said)
        })
        .await;
        assert_eq!(told["total"], 1, "{id}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL, starts brokers with scripts/kafka"]
async fn replicas_share_the_events_and_one_of_them_may_be_killed() {
    let (broker, database) = (Broker::start(), Database::fresh().await);
    let (key, auth_port) = (SigningKey::generate().unwrap(), free_port());
    publish_keys(&key, auth_port).await;
    let auth_url = format!("http://127.0.0.1:{auth_port}");
    let settings = [
        ("AUTH_URL", auth_url.as_str()),
        ("DATABASE_URL", database.url.as_str()),
        ("KAFKA_BOOTSTRAP_SERVERS", broker.address.as_str()),
    ];
    let bus = KafkaBus::new(Settings::new(&broker.address)).unwrap();
    bus.ensure_topics(&[TopicSpec::from(&events::topic::USERS)])
        .await
        .unwrap();
    let (one, other) = tokio::join!(
        Alone::start(NOTIFICATION, &settings),
        Alone::start(NOTIFICATION, &settings)
    );
    tokio::join!(one.ready(), other.ready());
    // Both have partitions once both have handled something.
    let mut sent = 0;
    eventually("both take part", async || {
        publish(&bus, sent..sent + 6).await;
        sent += 6;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let handled =
            async |replica: &Alone| replica.metric("consumer_events_total", "handled").await > 0.0;
        (handled(&one).await && handled(&other).await).then_some(())
    })
    .await;
    publish(&bus, 1000..1020).await;
    other.kill().await;
    publish(&bus, 2000..2020).await;
    told_once(&one, &key, 0..sent).await;
    told_once(&one, &key, 1000..1020).await;
    told_once(&one, &key, 2000..2020).await;
    assert_eq!(one.stop().await.code(), Some(0));
    bus.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL"]
async fn identities_are_checked_with_keys_that_auth_publishes() {
    let database = Database::fresh().await;
    let (key, forger) = (
        SigningKey::generate().unwrap(),
        SigningKey::generate().unwrap(),
    );
    let auth_port = free_port();
    let auth_url = format!("http://127.0.0.1:{auth_port}");
    let away = format!("127.0.0.1:{}", free_port());
    let settings = [
        ("AUTH_URL", auth_url.as_str()),
        ("DATABASE_URL", database.url.as_str()),
        ("KAFKA_BOOTSTRAP_SERVERS", away.as_str()),
    ];
    let service = Arc::new(Alone::start(NOTIFICATION, &settings).await);
    service.ready().await;
    // Not knowing the keys is not the same as not believing.
    inbox(&service, &key, 1)
        .await
        .expect_problem(503, "auth_unavailable");
    publish_keys(&key, auth_port).await;
    eventually("the keys were asked for again", async || {
        (inbox(&service, &key, 1).await.status == 200).then_some(())
    })
    .await;
    inbox(&service, &forger, 1)
        .await
        .expect_problem(401, "unauthenticated");
    service
        .client
        .send("GET", "/api/notifications", Some("a token"), None)
        .await
        .expect_problem(401, "unauthenticated");
    inbox(&service, &key, 1).await.expect(200);
}
