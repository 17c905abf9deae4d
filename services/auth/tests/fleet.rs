//! Auth as a process of its own, over PostgreSQL and Kafka that come and go.
#![expect(clippy::unwrap_used, reason = "a test says where it broke")]

use serde_json::json;
use testkit::broker::Broker;
use testkit::fleet::{Alone, Database, free_port};
use testkit::http::{Answer, eventually};
use tokio::process::Command;

const AUTH: &str = env!("CARGO_BIN_EXE_auth");
const SECRET: (&str, &str) = ("SECRET_KEY", "a secret key for tests only");
const PASSWORD: &str = "correct horse battery";

async fn register(auth: &Alone, name: &str) -> Answer {
    let body = json!({
        "email": format!("{name}@example.org"), "username": name, "password": PASSWORD,
    });
    let client = &auth.client;
    client
        .send("POST", "/api/auth/register", None, Some(body))
        .await
}

async fn login(auth: &Alone, name: &str) -> String {
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

/// What the gateway is told of the caller, as headers.
async fn validated(auth: &Alone, token: &str) -> Vec<(String, String)> {
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

async fn me(auth: &Alone, headers: &[(String, String)]) -> Answer {
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
    let settings = [
        SECRET,
        ("DATABASE_URL", database.url.as_str()),
        ("KAFKA_BOOTSTRAP_SERVERS", broker.address.as_str()),
    ];
    let auth = Alone::start(AUTH, &settings).await;
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
    eventually("it says why", async || {
        let output = auth.output();
        (output.contains("the event bus is away") && output.contains("KAFKA_BOOTSTRAP_SERVERS"))
            .then_some(())
    })
    .await;

    broker.up();
    eventually("the event was published", async || {
        let published = auth.metric("relay_published_total", "auth").await;
        (published >= 1.0).then_some(())
    })
    .await;
    // Also when they go away under way, and come back.
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL"]
async fn reaching_it_past_the_gateway_gains_nothing() {
    let database = Database::fresh().await;
    let away = format!("127.0.0.1:{}", free_port());
    let settings = [
        SECRET,
        ("DATABASE_URL", database.url.as_str()),
        ("KAFKA_BOOTSTRAP_SERVERS", away.as_str()),
    ];
    let (auth, other) = tokio::join!(Alone::start(AUTH, &settings), Alone::start(AUTH, &settings));
    tokio::join!(auth.ready(), other.ready());
    register(&auth, "ada").await.expect(201);
    register(&other, "eve").await.expect(201);
    let (ada, eve) = (login(&auth, "ada").await, login(&auth, "eve").await);
    // What one replica signs the other believes.
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL"]
async fn it_waits_for_its_database_and_says_so() {
    let database = Database::planned();
    let away = format!("127.0.0.1:{}", free_port());
    let settings = [
        SECRET,
        ("DATABASE_URL", database.url.as_str()),
        ("KAFKA_BOOTSTRAP_SERVERS", away.as_str()),
    ];
    let auth = Alone::start(AUTH, &settings).await;
    let client = &auth.client;
    let problem = client.send("GET", "/ready", None, None).await;
    let problem = problem.expect_problem(503, "not_ready");
    assert!(
        problem["detail"].as_str().unwrap().contains("database"),
        "{problem}"
    );
    client.send("GET", "/health", None, None).await.expect(200);
    register(&auth, "ada").await.expect_problem(503, "starting");
    eventually("it says what it waits for", async || {
        let output = auth.output();
        (output.contains("waiting for PostgreSQL") && output.contains("DATABASE_URL")).then_some(())
    })
    .await;
    database.create().await;
    auth.ready().await;
    register(&auth, "ada").await.expect(201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL"]
async fn a_server_of_the_wrong_kind_is_named_and_a_stop_is_heard_meanwhile() {
    // A server that speaks another language: auth's own, of another process.
    let database = Database::fresh().await;
    let away = format!("127.0.0.1:{}", free_port());
    let settings = |url: &str| {
        let url = url.to_owned();
        [
            (SECRET.0, SECRET.1.to_owned()),
            ("DATABASE_URL", url),
            ("KAFKA_BOOTSTRAP_SERVERS", away.clone()),
        ]
    };
    let start = async |url: &str| {
        let settings = settings(url);
        let settings: Vec<(&str, &str)> = settings.iter().map(|(n, v)| (*n, v.as_str())).collect();
        Alone::start(AUTH, &settings).await
    };
    let http = start(&database.url).await;
    let url = format!(
        "postgres://ada:secret-word@{}/rookery",
        http.client.address()
    );
    let auth = start(&url).await;
    eventually("it names the setting", async || {
        auth.output().contains("DATABASE_URL").then_some(())
    })
    .await;
    assert!(!auth.output().contains("secret-word"), "{}", auth.output());
    assert_eq!(auth.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_setting_that_is_missing_or_malformed_stops_the_start_and_is_named() {
    let good = [
        SECRET,
        ("DATABASE_URL", "postgres://127.0.0.1:1/rookery"),
        ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"),
    ];
    for (missing, _) in good {
        let said = run(&good, missing, None).await;
        assert!(said.contains(missing), "{said}");
    }
    for (name, value) in [
        ("DATABASE_URL", "127.0.0.1:5432"),
        ("DATABASE_URL", "mysql://ada:hidden@db/x"),
        ("DATABASE_DIRECT_URL", "hidden"),
        ("AUTH_URL", "https://auth"),
        ("SECRET_KEY", "short"),
    ] {
        let said = run(&good, name, Some(value)).await;
        assert!(said.contains(name) && !said.contains("hidden"), "{said}");
    }
}

/// What is said when a setting is missing or says something else.
async fn run(settings: &[(&str, &str)], name: &str, value: Option<&str>) -> String {
    let mut command = Command::new(AUTH);
    command.env_clear().env("PORT", "0").kill_on_drop(true);
    command.envs(settings.iter().copied()).env_remove(name);
    if let Some(value) = value {
        command.env(name, value);
    }
    let output = tokio::time::timeout(std::time::Duration::from_secs(20), command.output());
    let output = output
        .await
        .unwrap_or_else(|_| panic!("it goes on with {name}={value:?}"));
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn it_says_what_it_needs() {
    let output = Command::new(AUTH).arg("--help").output().await.unwrap();
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stdout).unwrap();
    for setting in [
        "DATABASE_URL",
        "DATABASE_DIRECT_URL",
        "KAFKA_BOOTSTRAP_SERVERS",
        "SECRET_KEY",
    ] {
        assert!(said.contains(setting), "{setting} in {said}");
    }
}
