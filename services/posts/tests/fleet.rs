//! Posts as a process of its own, over MongoDB's wire and Kafka, and told of servers that are neither.

use blocks::{Clock, SystemClock};
use events::users::UserDeleted;
use runtime::fleet::kafka::{KafkaBus, Settings};
use testkit::broker::Broker;
use testkit::fleet::{Executable, NOWHERE, Store};
use testkit::http::eventually;
use testkit::no_events;
use testkit::stand_in::AuthStandIn;
use testkit::strangers::{TEST_MONGODB_URL, server};

const POSTS: Executable<'_> = Executable {
    path: env!("CARGO_BIN_EXE_posts"),
    store: MONGODB,
    another: ("AUTH_URL", "http://127.0.0.1:1"),
};
const MONGODB: Store = Store {
    setting: "MONGODB_URL",
    server: TEST_MONGODB_URL,
    url: "mongodb://{}/posts",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL, TEST_KAFKA, TEST_MONGODB_URL, TEST_REDIS_URL"]
async fn a_server_of_the_wrong_kind_is_named_with_its_setting() {
    POSTS.names_strangers_as_store().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_MONGODB_URL"]
async fn a_password_that_the_database_does_not_take_is_named_without_it() {
    let address = server(TEST_MONGODB_URL);
    let url = format!("mongodb://nobody:hidden@{address}/posts");
    let service = POSTS.start(&url, NOWHERE).await;
    service.says(&["(MONGODB_URL)", "SCRAM failure"]).await;
    let problem = service.client.send("GET", "/ready", None, None).await;
    problem.expect_problem(503, "not_ready");
    assert!(!service.output().contains("hidden"), "{}", service.output());
    assert_eq!(service.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_setting_that_is_missing_or_malformed_stops_the_start_and_is_named() {
    let malformed = [
        ("MONGODB_URL", "127.0.0.1:27017"),
        ("MONGODB_URL", "postgres://ada:hidden@db/x"),
        ("MONGODB_URL", "mongodb://ada:hid:den@db/x"),
        ("MONGODB_URL", "mongodb://ada:hidden@db/x?sometimes=1"),
    ];
    POSTS.stops_and_names(&malformed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_MONGODB_URL, starts brokers with scripts/kafka"]
async fn what_is_no_event_lands_in_the_dead_letter_topic_and_holds_nobody_back() {
    let broker = Broker::start();
    let auth = AuthStandIn::start().await;
    let (server, name) = (server(TEST_MONGODB_URL), SystemClock.id().simple());
    let url = format!("mongodb://{server}/t_{name}");
    let service = POSTS.with(&auth.url()).start(&url, &broker.address).await;
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
