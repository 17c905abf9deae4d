//! Posts as a process of its own, told of servers that are none of its own.

use testkit::fleet::{Alone, brokers, stops_and_names};
use testkit::http::eventually;
use testkit::strangers::{Strangers, TEST_MONGODB_URL};

const POSTS: &str = env!("CARGO_BIN_EXE_posts");
const AUTH: (&str, &str) = ("AUTH_URL", "http://127.0.0.1:1");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL, TEST_KAFKA, TEST_MONGODB_URL, TEST_REDIS_URL"]
async fn a_server_of_the_wrong_kind_is_named_with_its_setting() {
    let kafka = brokers();
    Strangers::to(TEST_MONGODB_URL)
        .await
        .are_named(
            POSTS,
            "MONGODB_URL",
            |address| format!("mongodb://{address}/posts"),
            &[AUTH, ("KAFKA_BOOTSTRAP_SERVERS", &kafka)],
        )
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_MONGODB_URL"]
async fn a_password_that_the_database_does_not_take_is_named_without_it() {
    #[expect(
        clippy::disallowed_methods,
        reason = "the harness is told where the server is"
    )]
    let server = std::env::var(TEST_MONGODB_URL).unwrap();
    let address = server.rsplit(['/', '@']).next().unwrap();
    let url = format!("mongodb://nobody:hidden@{address}/posts");
    let settings = [
        AUTH,
        ("MONGODB_URL", url.as_str()),
        ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"),
    ];
    let service = Alone::start(POSTS, &settings).await;
    eventually("it says so", async || {
        let said = service.output();
        let both = ["(MONGODB_URL)", "SCRAM failure"];
        both.iter().all(|part| said.contains(part)).then_some(())
    })
    .await;
    let problem = service.client.send("GET", "/ready", None, None).await;
    problem.expect_problem(503, "not_ready");
    assert!(!service.output().contains("hidden"), "{}", service.output());
    assert_eq!(service.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_setting_that_is_missing_or_malformed_stops_the_start_and_is_named() {
    let good = [
        AUTH,
        ("MONGODB_URL", "mongodb://127.0.0.1:1/posts"),
        ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"),
    ];
    let malformed = [
        ("MONGODB_URL", "127.0.0.1:27017"),
        ("MONGODB_URL", "postgres://ada:hidden@db/x"),
        ("MONGODB_URL", "mongodb://ada:hid:den@db/x"),
        ("MONGODB_URL", "mongodb://ada:hidden@db/x?sometimes=1"),
    ];
    stops_and_names(POSTS, &good, &malformed).await;
}
