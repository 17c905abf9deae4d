//! The feed generator as a process of its own, told of servers that are none of its own.

use testkit::fleet::{Alone, brokers, stops_and_names};
use testkit::http::eventually;
use testkit::strangers::{Strangers, TEST_REDIS_URL};

const FEED: &str = env!("CARGO_BIN_EXE_feed-generator");
const AUTH: (&str, &str) = ("AUTH_URL", "http://127.0.0.1:1");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL, TEST_KAFKA, TEST_MONGODB_URL, TEST_REDIS_URL"]
async fn a_server_of_the_wrong_kind_is_named_with_its_setting() {
    let kafka = brokers();
    Strangers::to(TEST_REDIS_URL)
        .await
        .are_named(
            FEED,
            "REDIS_URL",
            |address| format!("redis://:hidden@{address}"),
            &[AUTH, ("KAFKA_BOOTSTRAP_SERVERS", &kafka)],
        )
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_REDIS_URL"]
async fn a_password_that_redis_does_not_take_is_waited_out() {
    #[expect(
        clippy::disallowed_methods,
        reason = "the harness is told where the server is"
    )]
    let server = std::env::var(TEST_REDIS_URL).unwrap();
    let client = redis::Client::open(server.as_str()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let user = format!("t-{}", std::process::id());
    let set = async |connection: &mut redis::aio::MultiplexedConnection, password: &str| {
        let mut command = redis::cmd("ACL");
        command.arg("SETUSER").arg(&user).arg("reset").arg("on");
        command
            .arg(format!(">{password}"))
            .arg("~*")
            .arg("&*")
            .arg("+@all");
        command.exec_async(connection).await.unwrap();
    };
    set(&mut connection, "right").await;
    let address = server.rsplit(['/', '@']).next().unwrap();
    let url = format!("redis://{user}:wrong-hidden@{address}");
    let settings = [
        AUTH,
        ("REDIS_URL", url.as_str()),
        ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"),
    ];
    let service = Alone::start(FEED, &settings).await;
    eventually("it says so", async || {
        let said = service.output();
        let both = ["(REDIS_URL)", "Password authentication failed"];
        both.iter().all(|part| said.contains(part)).then_some(())
    })
    .await;
    let answer = service
        .client
        .send("GET", "/api/activity-stream", None, None)
        .await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.headers.contains_key("retry-after"));
    assert!(!service.output().contains("hidden"), "{}", service.output());
    set(&mut connection, "wrong-hidden").await;
    eventually("it serves", async || {
        let answer = service
            .client
            .send("GET", "/api/activity-stream", None, None)
            .await;
        (answer.status == 200).then_some(())
    })
    .await;
    assert_eq!(service.stop().await.code(), Some(0));
    let mut gone = redis::cmd("ACL");
    gone.arg("DELUSER").arg(&user);
    let _: i64 = gone.query_async(&mut connection).await.unwrap();
}

#[tokio::test]
async fn a_setting_that_is_missing_or_malformed_stops_the_start_and_is_named() {
    let good = [
        AUTH,
        ("REDIS_URL", "redis://127.0.0.1:1"),
        ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"),
    ];
    let malformed = [
        ("REDIS_URL", "127.0.0.1:6379"),
        ("REDIS_URL", "http://ada:hidden@db:6379"),
        ("REDIS_URL", "redis://ada:hidden@:port"),
    ];
    stops_and_names(FEED, &good, &malformed).await;
}
