//! Notification as processes of their own, over PostgreSQL and Kafka, with keys asked of auth.
#![expect(clippy::unwrap_used, reason = "a test says where it broke")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use blocks::bus::{EventBus, TopicSpec};
use blocks::{Clock, SystemClock};
use events::users::UserCreated;
use events::{Context, Envelope};
use futures::future::join_all;
use http::{Method, Request, StatusCode};
use parking_lot::Mutex;
use runtime::fleet::kafka::{KafkaBus, Settings};
use serde_json::Value;
use testkit::broker::Broker;
use testkit::fleet::{Database, Executable, NOWHERE, POSTGRES, Standalone};
use testkit::http::{Answer, Client, eventually};
use testkit::no_events;
use testkit::ports::free_port;
use testkit::stand_in::{AuthStandIn, serve};
use testkit::strangers::Strangers;

const NOTIFICATION: Executable<'_> = Executable {
    path: env!("CARGO_BIN_EXE_notification"),
    store: POSTGRES,
    another: ("AUTH_URL", "http://127.0.0.1:1"),
};

fn created(id: i64) -> UserCreated {
    UserCreated {
        user_id: id,
        username: format!("user-{id}"),
        email: format!("user-{id}@example.org"),
        role: "user".into(),
        imported: false,
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

async fn inbox(service: &Standalone, auth: &AuthStandIn, id: i64) -> Answer {
    let list = "/api/notifications?limit=100";
    auth.ask(service, id, "GET", list, "").await
}

/// Waits until each of these accounts has a notification, and checks that it is only one.
async fn told_once(service: &Standalone, auth: &AuthStandIn, ids: std::ops::Range<i64>) {
    for id in ids {
        let told: Value = eventually("an account is told of", async || {
            let said = inbox(service, auth, id).await.expect(200);
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
    let auth = AuthStandIn::start().await;
    let auth_url = auth.url();
    let service = NOTIFICATION.with(&auth_url);
    let bus = KafkaBus::new(Settings::new(&broker.address)).unwrap();
    bus.ensure_topics(&[TopicSpec::from(&events::topic::USERS)])
        .await
        .unwrap();
    let (one, other) = tokio::join!(
        service.start(&database.url, &broker.address),
        service.start(&database.url, &broker.address)
    );
    tokio::join!(one.ready(), other.ready());
    // Both have partitions once both have handled something.
    let mut sent = 0;
    eventually("both take part", async || {
        publish(&bus, sent..sent + 6).await;
        sent += 6;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let handled = async |replica: &Standalone| {
            replica.metric("consumer_events_total", "handled").await > 0.0
        };
        (handled(&one).await && handled(&other).await).then_some(())
    })
    .await;
    publish(&bus, 1000..1020).await;
    other.kill().await;
    publish(&bus, 2000..2020).await;
    told_once(&one, &auth, 0..sent).await;
    told_once(&one, &auth, 1000..1020).await;
    told_once(&one, &auth, 2000..2020).await;
    assert_eq!(one.stop().await.code(), Some(0));
    bus.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL"]
async fn identities_are_checked_with_keys_that_auth_publishes() {
    let database = Database::fresh().await;
    let (auth, forger) = (AuthStandIn::planned(), AuthStandIn::planned());
    let auth_url = auth.url();
    let service = NOTIFICATION.with(&auth_url);
    let service = service.start(&database.url, NOWHERE).await;
    service.ready().await;
    // Not knowing the keys is not the same as not believing.
    inbox(&service, &auth, 1)
        .await
        .expect_problem(503, "auth_unavailable");
    auth.publish().await;
    eventually("the keys were asked for again", async || {
        (inbox(&service, &auth, 1).await.status == 200).then_some(())
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
    inbox(&service, &auth, 1).await.expect(200);
}

/// A Consul agent: the requests it got, and its answers.
#[derive(Default)]
struct Agent {
    asked: Mutex<Vec<String>>,
    is_broken: AtomicBool,
    refuses: AtomicBool,
}

impl Agent {
    fn was_asked(&self, what: &str) -> bool {
        let asked = self.asked.lock();
        asked.iter().any(|line| line.starts_with(what))
    }

    /// Answers at `port` from now on.
    async fn at(port: u16) -> Arc<Self> {
        let agent = Arc::new(Self::default());
        let answers = Arc::clone(&agent);
        let router = Router::new().fallback(async move |request: Request<Body>| {
            let line = format!("{} {}", request.method(), request.uri().path());
            answers.asked.lock().push(line);
            if answers.is_broken.load(Ordering::SeqCst) {
                (StatusCode::INTERNAL_SERVER_ERROR, "")
            } else if request.method() == Method::GET {
                (StatusCode::NOT_FOUND, "")
            } else if answers.refuses.load(Ordering::SeqCst) {
                (StatusCode::FORBIDDEN, "Permission denied: no right")
            } else {
                (StatusCode::OK, "")
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
    let port = free_port();
    let consul = format!("127.0.0.1:{port}");
    let start = async |name: &str| {
        let needed = NOTIFICATION.settings(&database.url, NOWHERE);
        let settings = [&needed[..], &[(name, &consul)]].concat();
        Standalone::start(NOTIFICATION.path, &settings).await
    };
    // Nobody is there: it serves, says so, and is told of when somebody is.
    let service = start("CONSUL_HOST").await;
    service.ready().await;
    service
        .says(&[
            "CONSUL_HTTP_ADDR is said by CONSUL_HOST",
            "Consul (CONSUL_HTTP_ADDR)",
        ])
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
    let service = start("CONSUL_HTTP_ADDR").await;
    service.ready().await;
    service.says(&["500"]).await;
    service.ready().await;
    // A reason that comes after another is said, too.
    agent.refuses.store(true, Ordering::SeqCst);
    agent.is_broken.store(false, Ordering::SeqCst);
    service
        .says(&["CONSUL_HTTP_TOKEN is not set (Permission denied: no right)"])
        .await;
    assert_eq!(service.stop().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL, TEST_KAFKA, TEST_MONGODB_URL, TEST_REDIS_URL"]
async fn a_server_of_the_wrong_kind_is_named_with_its_setting() {
    NOTIFICATION.names_strangers_as_store().await;
    let database = Database::fresh().await;
    NOTIFICATION.names_strangers_as_kafka(&database.url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL, TEST_KAFKA, TEST_MONGODB_URL, TEST_REDIS_URL"]
async fn whatever_is_not_auth_is_named_and_nobody_is_believed_meanwhile() {
    let database = Database::fresh().await;
    let stranger = AuthStandIn::planned();
    let strangers = Strangers::to("").await;
    let asked = strangers.servers().iter().map(async |(kind, address)| {
        let auth_url = format!("http://{address}");
        let service = NOTIFICATION.with(&auth_url);
        let service = service.start(&database.url, NOWHERE).await;
        service.ready().await;
        inbox(&service, &stranger, 1)
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
    let malformed = [("AUTH_URL", "127.0.0.1:8001"), ("AUTH_URL", "https://auth")];
    NOTIFICATION.stops_and_names(&malformed).await;
}

#[tokio::test]
async fn operators_hear_that_a_service_waits_for_its_servers() {
    let store = POSTGRES.at(NOWHERE);
    let port = free_port();
    let more = [
        ("OPERATOR_KEY", "0123456789abcdef0123456789abcdef"),
        ("OPERATOR_PORT", &port.to_string()),
    ];
    let settings = [&NOTIFICATION.settings(&store, NOWHERE)[..], &more].concat();
    let _service = Standalone::start(NOTIFICATION.path, &settings).await;
    let operator = Client::new(format!("127.0.0.1:{port}"));
    let answer = operator.send("GET", "/groups", None, None).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("starting"), "{}", answer.text());
}

#[tokio::test]
async fn a_port_that_is_taken_stops_the_start_before_any_server_is_waited_for() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let store = POSTGRES.at(NOWHERE);
    let key = ("OPERATOR_KEY", "0123456789abcdef0123456789abcdef");
    let settings = [&NOTIFICATION.settings(&store, NOWHERE)[..], &[key]].concat();
    for name in ["PORT", "OPERATOR_PORT"] {
        let said = NOTIFICATION.refusal(&settings, name, Some(&port)).await;
        let named = format!("port {port}:");
        assert!(
            said.contains(&named) && said.contains(&format!("set {name} ")),
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL"]
async fn a_password_that_the_database_does_not_take_is_waited_out() {
    NOTIFICATION.waits_for_its_password().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL, starts brokers with scripts/kafka"]
async fn what_is_no_event_lands_in_the_dead_letter_topic_and_holds_nobody_back() {
    let (broker, database) = (Broker::start(), Database::fresh().await);
    let auth = AuthStandIn::start().await;
    let auth_url = auth.url();
    let service = NOTIFICATION.with(&auth_url);
    let bus = KafkaBus::new(Settings::new(&broker.address)).unwrap();
    no_events::publish(&bus, &created(1), [&created(2), &created(3)]).await;
    publish(&bus, 4..24).await;
    let service = service.start(&database.url, &broker.address).await;
    service.ready().await;
    told_once(&service, &auth, 1..2).await;
    told_once(&service, &auth, 4..24).await;
    no_events::are_dead_letters::<UserCreated>(&bus, &service).await;
    assert_eq!(service.stop().await.code(), Some(0));
    bus.close().await;
}
