//! Auth as a process of its own, over PostgreSQL and Kafka that come and go.
#![expect(clippy::unwrap_used, reason = "a test says where it broke")]

use std::collections::BTreeMap;

use blocks::bus::{EventBus, Record};
use blocks::consumer::decide::{Base, Decision, KeyState, decide};
use blocks::consumer::parked::read;
use runtime::fleet::kafka::{KafkaBus, Settings};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use testkit::broker::Broker;
use testkit::fleet::{Database, Executable, NOWHERE, POSTGRES, Standalone};
use testkit::http::{Answer, eventually};
use tokio::process::Command;

const AUTH: Executable<'_> = Executable {
    path: env!("CARGO_BIN_EXE_auth"),
    store: POSTGRES,
    another: ("SECRET_KEY", "a secret key for tests only"),
};
const PASSWORD: &str = "correct horse battery";

async fn register(auth: &Standalone, name: &str) -> Answer {
    let body = json!({
        "email": format!("{name}@example.org"), "username": name, "password": PASSWORD,
    });
    let client = &auth.client;
    client
        .send("POST", "/api/auth/register", None, Some(body))
        .await
}

async fn login(auth: &Standalone, name: &str) -> String {
    let body = Some(json!({"username": name, "password": PASSWORD}));
    let answer = auth
        .client
        .send("POST", "/api/auth/login", None, body)
        .await;
    answer.expect(200)["access_token"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// The headers about the caller that the gateway gets.
async fn validated(auth: &Standalone, token: &str) -> Vec<(String, String)> {
    let answer = auth
        .client
        .send("GET", "/api/auth/validate", Some(token), None)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let headers = answer.headers.iter();
    headers
        .filter(|(name, _)| name.as_str().starts_with("x-user-") || *name == "x-identity")
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect()
}

async fn me(auth: &Standalone, headers: &[(String, String)]) -> Answer {
    let mut request = auth.client.request("GET", "/api/auth/me");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    auth.client.give(request.body("").unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL, starts brokers with scripts/kafka"]
async fn writes_are_served_while_the_brokers_are_away_and_their_events_arrive_after() {
    let broker = Broker::start();
    broker.stop();
    let database = Database::fresh().await;
    let auth = AUTH.start(&database.url, &broker.address).await;
    auth.ready().await;
    register(&auth, "ada").await.expect(201);
    let said = auth
        .client
        .send("GET", "/ready", None, None)
        .await
        .expect(200);
    assert_eq!(said["services"]["auth"], "events does not answer", "{said}");
    auth.client
        .send("GET", "/health/events", None, None)
        .await
        .expect_problem(503, "not_ready");
    auth.says(&["the event bus is away", "KAFKA_BOOTSTRAP_SERVERS"])
        .await;

    broker.up();
    eventually("the event was published", async || {
        let published = auth.metric("relay_published_total", "auth").await;
        (published >= 1.0).then_some(())
    })
    .await;
    // Also when the servers go away meanwhile and come back.
    broker.kill();
    register(&auth, "bob").await.expect(201);
    broker.up();
    eventually("the other event was published", async || {
        let published = auth.metric("relay_published_total", "auth").await;
        (published >= 2.0).then_some(())
    })
    .await;
    assert_eq!(auth.stop().await.code(), Some(0));
}

/// Everything on the topic of accounts, partition by partition.
async fn of_accounts(bus: &KafkaBus) -> Vec<Record> {
    let topic = events::topic::USERS.name;
    let mut records = Vec::new();
    for (partition, _) in (0..).zip(bus.watermarks(topic).await.unwrap()) {
        records.extend(bus.read(topic, partition, 0, 10_000).await.unwrap());
    }
    records
}

/// The number of each account's versions that take effect in a group reading `records`, and of
/// those parked behind a gap.
fn effects(records: &[Record]) -> (BTreeMap<String, i64>, usize) {
    let (mut known, mut waiting) = (BTreeMap::<String, i64>::new(), Vec::new());
    let events: Vec<_> = records.iter().map(|record| read(record).unwrap()).collect();
    for event in &events {
        waiting.push(event);
        // Each applied version may end the gap before others.
        loop {
            let before = waiting.len();
            waiting.retain(|event| {
                let state = KeyState {
                    known: known.get(&event.subject).copied(),
                    blocked: None,
                };
                match decide(state, Base::First, event.sequence) {
                    Decision::Apply => {
                        known.insert(event.subject.clone(), event.sequence);
                        false
                    }
                    Decision::Skip => false,
                    Decision::Park | Decision::Gap => true,
                }
            });
            if waiting.len() == before {
                break;
            }
        }
    }
    (known, waiting.len())
}

/// The sweeper: the holder and the epoch of the lease.
async fn lease(database: &Database) -> Option<(String, i64)> {
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    sqlx::query_as("select holder::text, epoch from auth.leases")
        .fetch_optional(&mut connection)
        .await
        .unwrap()
}

/// Makes published events look as if a crash had left them in the outbox.
async fn leave_behind(database: &Database) {
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    eventually("it was published", async || {
        let left = sqlx::query(
            "update auth.outbox_messages set status = 'pending', published_at = null,
                    created_at = created_at - interval '1 minute'
             where status = 'published'",
        );
        let left = left.execute(&mut connection).await.unwrap();
        (left.rows_affected() > 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL, starts brokers with scripts/kafka"]
async fn a_relay_that_was_frozen_past_its_lease_harms_nothing_when_it_wakes_up() {
    const ACCOUNTS: usize = 8;
    let (broker, database) = (Broker::start(), Database::fresh().await);
    let sleeper = AUTH.start(&database.url, &broker.address).await;
    sleeper.ready().await;
    // Events that look left behind make it the sweeper.
    register(&sleeper, "first").await.expect(201);
    leave_behind(&database).await;
    let (first, epoch) = eventually("it sweeps", async || lease(&database).await).await;
    let other = AUTH.start(&database.url, &broker.address).await;
    other.ready().await;

    // The events that it has committed but not published when it freezes.
    broker.stop();
    for n in 0..ACCOUNTS {
        register(&sleeper, &format!("user-{n}")).await.expect(201);
    }
    sleeper.freeze().await;
    broker.up();
    let bus = KafkaBus::new(Settings::new(&broker.address)).unwrap();
    eventually("another one swept", async || {
        let (known, _) = effects(&of_accounts(&bus).await);
        (known.len() == ACCOUNTS + 1).then_some(())
    })
    .await;
    let (holder, next_epoch) = lease(&database).await.unwrap();
    assert_ne!(holder, first);
    assert!(next_epoch > epoch);
    // The second version of each goes out before the sleeper comes with the first.
    for n in 0..ACCOUNTS {
        login(&other, &format!("user-{n}")).await;
    }
    sleeper.thaw().await;
    register(&sleeper, "late").await.expect(201);
    let records = eventually("all is on the topic", async || {
        let records = of_accounts(&bus).await;
        let (known, waiting) = effects(&records);
        let versions = known.values().sum::<i64>();
        let all = i64::try_from(2 * ACCOUNTS + 2).unwrap();
        (versions == all && waiting == 0).then_some(records)
    })
    .await;
    let mut again = records.clone();
    again.extend(records.iter().cloned());
    assert_eq!(effects(&again), effects(&records));
    assert_eq!(sleeper.stop().await.code(), Some(0));
    assert_eq!(other.stop().await.code(), Some(0));
    bus.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL"]
async fn reaching_it_past_the_gateway_gains_nothing() {
    let database = Database::fresh().await;
    let (auth, other) = tokio::join!(
        AUTH.start(&database.url, NOWHERE),
        AUTH.start(&database.url, NOWHERE)
    );
    tokio::join!(auth.ready(), other.ready());
    register(&auth, "ada").await.expect(201);
    register(&other, "eve").await.expect(201);
    let (ada, eve) = (login(&auth, "ada").await, login(&auth, "eve").await);
    // Each replica accepts the other's signatures.
    let ada = validated(&other, &ada).await;
    let eve = validated(&auth, &eve).await;
    for replica in [&auth, &other] {
        assert_eq!(me(replica, &ada).await.expect(200)["username"], "ada");
        assert_eq!(me(replica, &eve).await.expect(200)["username"], "eve");
    }
    let without_proof: Vec<_> = ada
        .iter()
        .filter(|(name, _)| name != "x-identity")
        .cloned()
        .collect();
    let mut mixed = without_proof.clone();
    mixed.extend(eve.iter().filter(|(name, _)| name == "x-identity").cloned());
    let mut twice = ada.clone();
    twice.extend(eve.iter().filter(|(name, _)| name == "x-identity").cloned());
    for forged in [vec![], without_proof, mixed, twice] {
        me(&auth, &forged)
            .await
            .expect_problem(401, "unauthenticated");
    }
    assert_eq!(auth.stop().await.code(), Some(0));
}

/// The request has a line in the service's log, and one in the gateway's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL"]
async fn what_a_gateway_asks_has_a_line_where_nobody_passes() {
    let database = Database::fresh().await;
    let auth = AUTH.start(&database.url, NOWHERE).await;
    auth.ready().await;
    register(&auth, "ada").await.expect(201);
    let token = login(&auth, "ada").await;
    let asked = async |token: &str| {
        let request = auth.client.request("GET", "/api/auth/validate");
        let request = request
            .header("authorization", format!("Bearer {token}"))
            .header("x-forwarded-method", "GET")
            .header("x-forwarded-uri", "/api/posts");
        auth.client.give(request.body("").unwrap()).await.status
    };
    assert_eq!(asked(&token).await, 200);
    assert_eq!(asked("none").await, 401);
    let has_line = |status: u16| {
        let line = format!("GET /api/auth/validate {status}");
        auth.output().contains(&line)
    };
    eventually("the refusal has a line", async || {
        has_line(401).then_some(())
    })
    .await;
    assert!(!has_line(200), "{}", auth.output());
    validated(&auth, &token).await;
    eventually("so has what a client asks", async || {
        has_line(200).then_some(())
    })
    .await;
    assert_eq!(auth.stop().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL"]
async fn it_waits_for_its_database_and_says_so() {
    let database = Database::planned();
    let auth = AUTH.start(&database.url, NOWHERE).await;
    let client = &auth.client;
    let problem = client.send("GET", "/ready", None, None).await;
    let problem = problem.expect_problem(503, "not_ready");
    assert!(
        problem["detail"].as_str().unwrap().contains("database"),
        "{problem}"
    );
    client.send("GET", "/health", None, None).await.expect(200);
    register(&auth, "ada").await.expect_problem(503, "starting");
    auth.says(&["waiting for PostgreSQL", "DATABASE_URL"]).await;
    database.create().await;
    auth.ready().await;
    register(&auth, "ada").await.expect(201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL, TEST_KAFKA, TEST_MONGODB_URL, TEST_REDIS_URL"]
async fn a_server_of_the_wrong_kind_is_named_with_its_setting() {
    AUTH.names_strangers_as_store().await;
    let database = Database::fresh().await;
    AUTH.names_strangers_as_kafka(&database.url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL"]
async fn a_password_that_the_database_does_not_take_is_waited_out() {
    AUTH.waits_for_its_password().await;
}

#[tokio::test]
async fn a_setting_that_is_missing_or_malformed_stops_the_start_and_is_named() {
    let malformed = [
        ("DATABASE_URL", "127.0.0.1:5432"),
        ("DATABASE_URL", "mysql://ada:hidden@db/x"),
        ("DATABASE_URL", "postgres://ada:hidden@db:99999/x"),
        (
            "DATABASE_URL",
            "postgres://ada:hidden@db/x?sslmode=sometimes",
        ),
        ("DATABASE_DIRECT_URL", "hidden"),
        ("KAFKA_BOOTSTRAP_SERVERS", "http://ada:hidden@kafka:9092"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092,"),
        ("AUTH_URL", "https://auth"),
        ("CONSUL_HTTP_ADDR", "https://consul"),
        ("SECRET_KEY", "short"),
        ("REDIS_URL", "http://ada:hidden@db:6379"),
        ("ENVIRONMENT", "staging"),
    ];
    AUTH.stops_and_names(&malformed).await;
    // For an address in parts, the wrong part is named.
    let mut parts = AUTH.settings("", NOWHERE);
    parts[1] = ("DB_HOST", "db");
    let said = AUTH.refusal(&parts, "DB_PORT", Some("5432/tcp")).await;
    assert!(
        said.contains("DB_PORT") && said.contains("port number"),
        "{said}"
    );
}

#[tokio::test]
async fn it_says_what_it_needs() {
    let output = Command::new(AUTH.path)
        .arg("--help")
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stdout).unwrap();
    for setting in [
        "DATABASE_URL",
        "DATABASE_DIRECT_URL",
        "KAFKA_BOOTSTRAP_SERVERS",
        "SECRET_KEY",
        "REDIS_URL",
    ] {
        assert!(said.contains(setting), "{setting} in {said}");
    }
}
