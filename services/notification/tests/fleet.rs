//! Notification as processes of their own, over PostgreSQL and Kafka, with keys asked of auth.
#![expect(clippy::unwrap_used, reason = "a test says where it broke")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::routing::get;
use axum::{Json, Router};
use blocks::bus::{EventBus, MAX_EVENT_BYTES, TopicSpec};
use blocks::identity::{AssertionClaims, ISSUER, SigningKey};
use blocks::{Caller, Clock, Role, SystemClock};
use events::users::UserCreated;
use events::{Context, Envelope, Message, header};
use futures::future::join_all;
use http::{Method, Request, StatusCode};
use runtime::fleet::kafka::{KafkaBus, Settings};
use serde_json::{Value, json};
use testkit::broker::Broker;
use testkit::db::TEST_DATABASE_URL;
use testkit::fleet::{Alone, Database, PasswordRole, TEST_KAFKA, brokers, stops_and_names};
use testkit::http::{Answer, eventually};
use testkit::ports::free_port;
use testkit::strangers::Strangers;
use uuid::Uuid;

const NOTIFICATION: &str = env!("CARGO_BIN_EXE_notification");

/// Stands in for auth: its keys are at `port` from now on.
async fn publish_keys(key: &SigningKey, port: u16) {
    let jwks = json!({"keys": [key.public()]});
    let router = Router::new().route("/.well-known/jwks.json", get(async || Json(jwks)));
    serve(router, port).await;
}

async fn serve(router: Router, port: u16) {
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

/// What a Consul agent was asked, and how it answers.
#[derive(Default)]
struct Agent {
    asked: Mutex<Vec<String>>,
    is_broken: AtomicBool,
}

impl Agent {
    fn was_asked(&self, what: &str) -> bool {
        let asked = self.asked.lock().unwrap();
        asked.iter().any(|line| line.starts_with(what))
    }

    /// Answers at `port` from now on.
    async fn at(port: u16) -> Arc<Self> {
        let agent = Arc::new(Self::default());
        let answers = Arc::clone(&agent);
        let router = Router::new().fallback(async move |request: Request<Body>| {
            let line = format!("{} {}", request.method(), request.uri().path());
            answers.asked.lock().unwrap().push(line);
            match (answers.is_broken.load(Ordering::SeqCst), request.method()) {
                (true, _) => StatusCode::INTERNAL_SERVER_ERROR,
                (false, &Method::GET) => StatusCode::NOT_FOUND,
                (false, _) => StatusCode::OK,
            }
        });
        serve(router, port).await;
        agent
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL"]
async fn it_registers_with_consul_by_either_name_of_the_setting_and_works_whatever_that_says() {
    let database = Database::fresh().await;
    let away = format!("127.0.0.1:{}", free_port());
    let port = free_port();
    let consul = format!("127.0.0.1:{port}");
    let settings = |name| {
        [
            (name, consul.as_str()),
            ("AUTH_URL", "http://127.0.0.1:1"),
            ("DATABASE_URL", database.url.as_str()),
            ("KAFKA_BOOTSTRAP_SERVERS", away.as_str()),
        ]
    };
    // Nobody is there: it serves, says so, and is told of when somebody is.
    let service = Alone::start(NOTIFICATION, &settings("CONSUL_HOST")).await;
    service.ready().await;
    eventually("it says so", async || {
        let said = service.output();
        let both = [
            "CONSUL_HTTP_ADDR is said by CONSUL_HOST",
            "Consul (CONSUL_HTTP_ADDR)",
        ];
        both.iter().all(|part| said.contains(part)).then_some(())
    })
    .await;
    let agent = Agent::at(port).await;
    eventually("it registered", async || {
        agent
            .was_asked("PUT /v1/agent/service/register")
            .then_some(())
    })
    .await;
    assert_eq!(service.stop().await.code(), Some(0));
    assert!(agent.was_asked("PUT /v1/agent/service/deregister/notification-127.0.0.1-"));
    // One that fails at everything stops nobody either.
    agent.is_broken.store(true, Ordering::SeqCst);
    let service = Alone::start(NOTIFICATION, &settings("CONSUL_HTTP_ADDR")).await;
    service.ready().await;
    eventually("it says what the agent said", async || {
        service.output().contains("500").then_some(())
    })
    .await;
    service.ready().await;
    assert_eq!(service.stop().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL, TEST_KAFKA, TEST_MONGODB_URL, TEST_REDIS_URL"]
async fn a_server_of_the_wrong_kind_is_named_with_its_setting() {
    let (database, kafka) = (Database::fresh().await, brokers());
    let auth = ("AUTH_URL", "http://127.0.0.1:1");
    let (to_database, to_kafka) = (
        Strangers::to(TEST_DATABASE_URL).await,
        Strangers::to(TEST_KAFKA).await,
    );
    to_database
        .are_named(
            NOTIFICATION,
            "DATABASE_URL",
            |address| format!("postgres://ada:hidden@{address}/rookery"),
            &[auth, ("KAFKA_BOOTSTRAP_SERVERS", &kafka)],
        )
        .await;
    to_kafka
        .are_named(
            NOTIFICATION,
            "KAFKA_BOOTSTRAP_SERVERS",
            str::to_owned,
            &[auth, ("DATABASE_URL", &database.url)],
        )
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL, TEST_KAFKA, TEST_MONGODB_URL, TEST_REDIS_URL"]
async fn whatever_is_not_auth_is_named_and_nobody_is_believed_meanwhile() {
    let database = Database::fresh().await;
    let away = format!("127.0.0.1:{}", free_port());
    let key = SigningKey::generate().unwrap();
    let strangers = Strangers::to("").await;
    let asked = strangers.servers().iter().map(async |(kind, address)| {
        let auth_url = format!("http://{address}");
        let settings = [
            ("AUTH_URL", auth_url.as_str()),
            ("DATABASE_URL", database.url.as_str()),
            ("KAFKA_BOOTSTRAP_SERVERS", away.as_str()),
        ];
        let service = Alone::start(NOTIFICATION, &settings).await;
        service.ready().await;
        inbox(&service, &key, 1)
            .await
            .expect_problem(503, "auth_unavailable");
        let is_named = |line: &str| line.contains("AUTH_URL") && line.contains(address.as_str());
        eventually("setting and address are named", async || {
            service.output().lines().any(is_named).then_some(())
        })
        .await;
        assert_eq!(service.stop().await.code(), Some(0), "{kind}");
    });
    join_all(asked).await;
}

#[tokio::test]
async fn a_setting_that_is_missing_or_malformed_stops_the_start_and_is_named() {
    let good = [
        ("AUTH_URL", "http://127.0.0.1:1"),
        ("DATABASE_URL", "postgres://127.0.0.1:1/rookery"),
        ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"),
    ];
    let malformed = [("AUTH_URL", "127.0.0.1:8001"), ("AUTH_URL", "https://auth")];
    stops_and_names(NOTIFICATION, &good, &malformed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL"]
async fn a_password_that_the_database_does_not_take_is_waited_out() {
    let database = Database::fresh().await;
    let role = PasswordRole::fresh(&database).await;
    let away = format!("127.0.0.1:{}", free_port());
    let url = role.url("wrong-hidden");
    let settings = [
        ("AUTH_URL", "http://127.0.0.1:1"),
        ("DATABASE_URL", url.as_str()),
        ("KAFKA_BOOTSTRAP_SERVERS", away.as_str()),
    ];
    let service = Alone::start(NOTIFICATION, &settings).await;
    eventually("it says so", async || {
        let said = service.output();
        let both = ["(DATABASE_URL)", "password authentication failed"];
        both.iter().all(|part| said.contains(part)).then_some(())
    })
    .await;
    assert!(!service.output().contains("hidden"), "{}", service.output());
    role.change_password("wrong-hidden").await;
    service.ready().await;
    assert_eq!(service.stop().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL, starts brokers with scripts/kafka"]
async fn what_is_no_event_lands_in_the_dead_letter_topic_and_holds_nobody_back() {
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
    let topic = &events::topic::USERS;
    bus.ensure_topics(&[TopicSpec::from(topic)]).await.unwrap();
    let good = |id| {
        let (time, event) = (SystemClock.now(), created(id));
        let of = Context::default();
        let envelope = Envelope::new(SystemClock.id(), "auth", time, 1, of, &event);
        envelope.unwrap().message()
    };
    let bytes = |value: Vec<u8>| Message {
        headers: Vec::new(),
        value,
        ..good(1)
    };
    let mut newer = good(2);
    for (name, value) in &mut newer.headers {
        if name == header::DATA_SCHEMA {
            "2".clone_into(value);
        }
    }
    let mut half = good(3);
    half.value.truncate(half.value.len() / 2);
    // Each lies before a good one in the same partition: they have its key.
    let mut unknown = good(4);
    for (name, value) in &mut unknown.headers {
        if name == header::TYPE {
            "user.knighted".clone_into(value);
        }
    }
    let batch = [
        bytes(b"{\"user_id\":".to_vec()),
        bytes(vec![0xff; MAX_EVENT_BYTES]),
        good(1),
        newer,
        half,
        unknown,
        good(5),
        good(6),
        good(7),
    ];
    bus.publish(&batch).await.unwrap();
    let service = Alone::start(NOTIFICATION, &settings).await;
    service.ready().await;
    for id in [1, 5, 6, 7] {
        told_once(&service, &key, id..id + 1).await;
    }
    let letters = eventually("four letters", async || {
        let name = events::dead_letter_topic(topic.name);
        let mut letters = Vec::new();
        for (partition, _) in (0..).zip(bus.extents(&name).await.ok()?) {
            letters.extend(bus.read(&name, partition, 0, 100).await.ok()?);
        }
        (letters.len() >= 4).then_some(letters)
    })
    .await;
    let mut reasons: Vec<String> = letters
        .iter()
        .map(|letter| {
            let headers = letter.headers.iter();
            let mut error = headers.filter(|(name, _)| name == header::DLQ_ERROR);
            error.next().unwrap().1.clone()
        })
        .collect();
    reasons.sort();
    let expected = [
        "ce_sequence",
        "ce_sequence",
        "schema version 2",
        "can't be read",
    ];
    for part in expected {
        let at = reasons.iter().position(|reason| reason.contains(part));
        reasons.remove(at.unwrap_or_else(|| panic!("{part} in {reasons:?}")));
    }
    assert!(reasons.is_empty(), "{reasons:?}");
    assert_eq!(service.output().matches("gave up on an event").count(), 4);
    assert_eq!(service.stop().await.code(), Some(0));
    bus.close().await;
}
