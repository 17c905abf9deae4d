//! The feed generator as a process of its own, over Redis and Kafka, and told of servers that are neither.
#![expect(clippy::unwrap_used, reason = "a test says where it broke")]

use blocks::{Clock, SystemClock};
use events::posts::PostCreated;
use redis::AsyncTypedCommands;
use redis::aio::MultiplexedConnection;
use runtime::fleet::kafka::{KafkaBus, Settings};
use testkit::broker::Broker;
use testkit::fleet::{Executable, NOWHERE, Store};
use testkit::http::eventually;
use testkit::no_events;
use testkit::strangers::{TEST_REDIS_URL, server};

const FEED: Executable<'_> = Executable {
    path: env!("CARGO_BIN_EXE_feed-generator"),
    store: REDIS,
    another: ("AUTH_URL", "http://127.0.0.1:1"),
};
const REDIS: Store = Store {
    setting: "REDIS_URL",
    server: TEST_REDIS_URL,
    url: "redis://:hidden@{}",
};

async fn connection(url: &str) -> MultiplexedConnection {
    let client = redis::Client::open(url).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

/// The URL of a database of the server that holds nothing.
async fn empty_database() -> String {
    let server = server(TEST_REDIS_URL);
    for number in 1..16 {
        let url = format!("redis://{server}/{number}");
        let size = redis::cmd("DBSIZE");
        let size: u64 = size.query_async(&mut connection(&url).await).await.unwrap();
        if size == 0 {
            return url;
        }
    }
    panic!("{TEST_REDIS_URL} has no empty database");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL, TEST_KAFKA, TEST_MONGODB_URL, TEST_REDIS_URL"]
async fn a_server_of_the_wrong_kind_is_named_with_its_setting() {
    FEED.names_strangers_as_store().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_REDIS_URL"]
async fn a_password_that_redis_does_not_take_is_waited_out() {
    let address = server(TEST_REDIS_URL);
    let mut connection = connection(&format!("redis://{address}")).await;
    let user = format!("t-{}", std::process::id());
    let set = async |connection: &mut MultiplexedConnection, password: &str| {
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
    let url = format!("redis://{user}:wrong-hidden@{address}");
    let service = FEED.start(&url, NOWHERE).await;
    service
        .says(&["(REDIS_URL)", "Password authentication failed"])
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
    let malformed = [
        ("REDIS_URL", "127.0.0.1:6379"),
        ("REDIS_URL", "http://ada:hidden@db:6379"),
        ("REDIS_URL", "redis://ada:hidden@:port"),
    ];
    FEED.stops_and_names(&malformed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_REDIS_URL, starts brokers with scripts/kafka"]
async fn what_is_no_event_lands_in_the_dead_letter_topic_and_holds_nobody_back() {
    let broker = Broker::start();
    let url = empty_database().await;
    let bus = KafkaBus::new(Settings::new(&broker.address)).unwrap();
    let post = || PostCreated {
        post_id: SystemClock.id(),
        user_id: 1,
        username: "ada".into(),
        title: "t".into(),
        content: "c".into(),
        tags: vec![],
        created_at: SystemClock.now(),
    };
    no_events::publish(&bus, &post(), [&post(), &post()]).await;
    let service = FEED.start(&url, &broker.address).await;
    service.ready().await;
    eventually("the post is in the stream", async || {
        let stream = "/api/activity-stream";
        let answer = service.client.send("GET", stream, None, None).await;
        (answer.expect(200)["total"] == 1).then_some(())
    })
    .await;
    no_events::are_dead_letters::<PostCreated>(&bus, &service).await;
    assert_eq!(service.stop().await.code(), Some(0));
    bus.close().await;
    connection(&url).await.flushdb().await.unwrap();
}
