//! Profiles as a process of their own, over PostgreSQL and Kafka, and told of servers that are neither.

use events::users::UserDeleted;
use runtime::fleet::kafka::{KafkaBus, Settings};
use testkit::broker::Broker;
use testkit::fleet::{Database, Executable, POSTGRES};
use testkit::http::eventually;
use testkit::no_events;
use testkit::stand_in::AuthStandIn;

const PROFILES: Executable<'_> = Executable {
    path: env!("CARGO_BIN_EXE_user-profile"),
    store: POSTGRES,
    another: ("AUTH_URL", "http://127.0.0.1:1"),
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL, TEST_KAFKA, TEST_MONGODB_URL, TEST_REDIS_URL"]
async fn a_server_of_the_wrong_kind_is_named_with_its_setting() {
    PROFILES.names_strangers_as_store().await;
    let database = Database::fresh().await;
    PROFILES.names_strangers_as_kafka(&database.url).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL"]
async fn a_password_that_the_database_does_not_take_is_waited_out() {
    PROFILES.waits_for_its_password().await;
}

#[tokio::test]
async fn a_setting_that_is_missing_or_malformed_stops_the_start_and_is_named() {
    let malformed = [
        ("AUTH_URL", "127.0.0.1:8001"),
        ("DATABASE_URL", "mysql://ada:hidden@db/x"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka:9092,"),
    ];
    PROFILES.stops_and_names(&malformed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL, starts brokers with scripts/kafka"]
async fn what_is_no_event_lands_in_the_dead_letter_topic_and_holds_nobody_back() {
    let (broker, database) = (Broker::start(), Database::fresh().await);
    let auth = AuthStandIn::start().await;
    let service = PROFILES
        .with(&auth.url())
        .start(&database.url, &broker.address)
        .await;
    service.ready().await;
    let profile = auth.ask(&service, 1, "POST", "/api/profile", "{}").await;
    profile.expect(201);
    let bus = KafkaBus::new(Settings::new(&broker.address)).unwrap();
    let closed = |user_id| UserDeleted { user_id };
    no_events::publish(&bus, &closed(1), [&closed(2), &closed(3)]).await;
    eventually("the profile went with its account", async || {
        let profile = auth.ask(&service, 1, "GET", "/api/profile", "").await;
        (profile.status == 404).then_some(())
    })
    .await;
    no_events::are_dead_letters::<UserDeleted>(&bus, &service).await;
    assert_eq!(service.stop().await.code(), Some(0));
    bus.close().await;
}
