//! Several replicas of auth over one PostgreSQL schema.

use std::sync::Arc;

use auth::commands::{ChangeAccount, EndSession, LogIn, OpenAccount};
use auth::{Auth, MIGRATIONS, Settings};
use blocks::gateway::{AuthRefusal, Authenticator};
use blocks::service::Background;
use blocks::{Clock, ManualClock, Mediator, SystemClock};
use chrono::TimeDelta;
use futures::future::join_all;
use sql::Db;
use testkit::fleet::Database;
use testkit::http::eventually;
use tokio_util::sync::CancellationToken;

use crate::world::settings;

/// A replica with a connection of its own.
async fn replica(url: &str) -> Auth {
    replica_at(url, Arc::new(SystemClock)).await
}

async fn replica_at(url: &str, clock: Arc<dyn Clock>) -> Auth {
    let of_db = sql::Settings::new("auth", Arc::clone(&clock));
    let db = Db::connect_postgres(url, "auth", of_db, MIGRATIONS)
        .await
        .unwrap();
    let settings = Settings {
        replicas: Some(url.to_owned()),
        ..settings()
    };
    Auth::open(db, settings, clock).await.unwrap()
}

/// Lets a replica hear of the others, until the token is cancelled.
fn hears(auth: &Auth) -> CancellationToken {
    let stop = CancellationToken::new();
    for feed in auth::service(auth).background {
        let (feed, stop): (Arc<dyn Background>, _) = (feed, stop.clone());
        #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
        tokio::spawn(async move { feed.run(stop).await });
    }
    stop
}

async fn login(auth: &Auth, name: &str) -> String {
    let new = auth::Registration::new(format!("{name}@example.org"), name, crate::world::PASSWORD);
    let (new, once) = (new.check().unwrap(), None);
    auth.send(OpenAccount { new, once }).await.unwrap();
    let login = LogIn {
        login: auth::domain::Login::Username(name.to_owned()),
        password: crate::world::PASSWORD.to_owned(),
        user_agent: None,
    };
    auth.send(login).await.unwrap().access_token
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL"]
async fn replicas_that_start_at_once_make_one_schema_and_one_key() {
    for _ in 0..3 {
        let database = Database::fresh().await;
        let replicas = join_all((0..6).map(|_| replica(&database.url))).await;
        let token = login(&replicas[0], "ada").await;
        for auth in &replicas {
            assert_eq!(&*auth.authenticate(&token).await.unwrap().name, "ada");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL"]
async fn a_replica_whose_clock_is_behind_signs_with_the_key_that_is_there() {
    let database = Database::fresh().await;
    let one = replica(&database.url).await;
    let behind = ManualClock::at(SystemClock.now() - TimeDelta::seconds(20));
    let behind = replica_at(&database.url, Arc::new(behind)).await;
    let token = login(&behind, "ada").await;
    assert_eq!(&*one.authenticate(&token).await.unwrap().name, "ada");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL"]
async fn what_one_replica_ends_or_renames_the_others_hear_of() {
    let database = Database::fresh().await;
    let (one, other) = tokio::join!(replica(&database.url), replica(&database.url));
    let (_one, _other) = (hears(&one), hears(&other));
    let token = login(&one, "ada").await;
    let caller = other.authenticate(&token).await.unwrap();
    let change = auth::domain::AccountChange {
        username: auth::domain::Username::parse("ada-l").ok(),
        ..auth::domain::AccountChange::default()
    };
    let (by, id) = (Some(caller.clone()), caller.id);
    one.send(ChangeAccount { by, id, change }).await.unwrap();
    eventually("the other answers the new name", async || {
        let caller = other.authenticate(&token).await.unwrap();
        (&*caller.name == "ada-l").then_some(())
    })
    .await;
    let (session, by) = (caller.session, caller);
    one.send(EndSession { by, session }).await.unwrap();
    eventually("the other refuses the token", async || {
        let refused = other.authenticate(&token).await.err()?;
        assert!(matches!(refused, AuthRefusal::Revoked), "{refused}");
        Some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL"]
async fn a_replica_that_hears_nothing_believes_nothing_that_it_remembers() {
    let database = Database::fresh().await;
    let (one, deaf) = tokio::join!(replica(&database.url), replica(&database.url));
    let token = login(&one, "ada").await;
    let caller = deaf.authenticate(&token).await.unwrap();
    deaf.authenticate(&token).await.unwrap();
    let (session, by) = (caller.session, caller);
    one.send(EndSession { by, session }).await.unwrap();
    let refused = deaf.authenticate(&token).await.unwrap_err();
    assert!(matches!(refused, AuthRefusal::Revoked), "{refused}");
}
