//! Posts as a process of its own, over MongoDB's wire and Kafka, and told of servers that are neither.

use blocks::{Clock, SystemClock};
use events::users::UserDeleted;
use runtime::fleet::kafka::{KafkaBus, Settings};
use testkit::broker::Broker;
use testkit::fleet::{Alone, brokers, stops_and_names};
use testkit::http::eventually;
use testkit::no_events;
use testkit::stand_in::AuthStandIn;
use testkit::strangers::{Strangers, TEST_MONGODB_URL, server};

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
    let address = server(TEST_MONGODB_URL);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_MONGODB_URL, starts brokers with scripts/kafka"]
async fn what_is_no_event_lands_in_the_dead_letter_topic_and_holds_nobody_back() {
    let broker = Broker::start();
    let auth = AuthStandIn::start().await;
    let (auth_url, server, name) = (
        auth.url(),
        server(TEST_MONGODB_URL),
        SystemClock.id().simple(),
    );
    let url = format!("mongodb://{server}/t_{name}");
    let settings = [
        ("AUTH_URL", auth_url.as_str()),
        ("MONGODB_URL", url.as_str()),
        ("KAFKA_BOOTSTRAP_SERVERS", broker.address.as_str()),
    ];
    let service = Alone::start(POSTS, &settings).await;
    service.ready().await;
    let draft = r#"{"title":"t","content":"c"}"#;
    let post = auth.ask(&service, 1, "POST", "/api/posts", draft).await;
    let path = format!("/api/posts/{}", post.expect(201)["id"].as_str().unwrap());
    let bus = KafkaBus::new(Settings::new(&broker.address)).unwrap();
    let closed = |user_id| UserDeleted { user_id };
    no_events::publish(&bus, &closed(1), [&closed(2), &closed(3)]).await;
    eventually("the post went with its account", async || {
        let post = auth.ask(&service, 1, "GET", &path, "").await;
        (post.status == 404).then_some(())
    })
    .await;
    no_events::are_dead_letters::<UserDeleted>(&bus, &service).await;
    assert_eq!(service.stop().await.code(), Some(0));
    bus.close().await;
}
