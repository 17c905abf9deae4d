//! Several replicas of auth over one PostgreSQL schema.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use auth::client::Client;
use auth::commands::{
    ChangeAccount, EndSession, LogIn, LoggedIn, OpenAccount, Refresh, RotateKeys,
};
use auth::operator::KeyUse;
use auth::queries::ListKeys;
use auth::{Auth, AuthError, MIGRATIONS, Settings};
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

/// Longer than it takes to hear of a key.
const KEY_GRACE: TimeDelta = TimeDelta::seconds(3);

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
        key_grace: KEY_GRACE,
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
    enter(auth, name).await.access_token
}

/// Opens an account and logs in to it.
async fn enter(auth: &Auth, name: &str) -> LoggedIn {
    let new = auth::Registration::new(format!("{name}@example.org"), name, crate::world::PASSWORD);
    let (new, once) = (new.check().unwrap(), None);
    auth.send(OpenAccount { new, once }).await.unwrap();
    again(auth, name).await
}

/// Logs in.
async fn again(auth: &Auth, name: &str) -> LoggedIn {
    let login = LogIn {
        login: auth::domain::Login::Username(name.to_owned()),
        password: crate::world::PASSWORD.to_owned(),
        client: Client::default(),
    };
    auth.send(login).await.unwrap()
}

async fn refresh(auth: &Auth, token: &str) -> Result<LoggedIn, AuthError> {
    let (token, client) = (token.to_owned(), Client::default());
    auth.send(Refresh { token, client }).await
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL"]
async fn a_thief_who_shows_a_used_token_ends_the_session_on_every_replica() {
    let database = Database::fresh().await;
    let (one, other) = tokio::join!(replica(&database.url), replica(&database.url));
    let (_one, _other) = (hears(&one), hears(&other));
    let first = enter(&one, "ada").await;
    let second = refresh(&other, &first.refresh_token).await.unwrap();
    let third = refresh(&one, &second.refresh_token).await.unwrap();
    one.authenticate(&third.access_token).await.unwrap();
    let refused = refresh(&other, &first.refresh_token).await.err().unwrap();
    assert!(matches!(refused, AuthError::BadRefreshToken), "{refused}");
    eventually("the other refuses the owner's token", async || {
        let refused = one.authenticate(&third.access_token).await.err()?;
        assert!(matches!(refused, AuthRefusal::Revoked), "{refused}");
        Some(())
    })
    .await;
    let refused = refresh(&one, &third.refresh_token).await.err().unwrap();
    assert!(matches!(refused, AuthError::BadRefreshToken), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL"]
async fn a_thousand_refreshes_that_race_over_two_replicas_log_nobody_out() {
    let database = Database::fresh().await;
    let replicas = tokio::join!(replica(&database.url), replica(&database.url));
    let (_one, _other) = (hears(&replicas.0), hears(&replicas.1));
    let families = (0..10).map(async |family| {
        let mut tokens = enter(&replicas.0, &format!("ada-{family}")).await;
        for round in 0..20 {
            let shown = tokens.refresh_token.clone();
            let race = (0..5).map(|tab| {
                let (one, other) = &replicas;
                refresh(if tab % 2 == 0 { one } else { other }, &shown)
            });
            let answers = join_all(race).await.into_iter().map(Result::unwrap);
            let answers: Vec<LoggedIn> = answers.collect();
            let next = &answers[0].refresh_token;
            assert!(answers.iter().all(|of| of.refresh_token == *next));
            // Every tenth answer is lost: here those of every tenth round, which is tried again.
            if (round + family) % 10 != 0 {
                tokens = answers.into_iter().last().unwrap();
            }
        }
        tokens
    });
    for tokens in join_all(families).await {
        for auth in [&replicas.0, &replicas.1] {
            auth.authenticate(&tokens.access_token).await.unwrap();
        }
        refresh(&replicas.1, &tokens.refresh_token).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL"]
async fn keys_are_rotated_over_two_replicas_without_a_refusal() {
    let database = Database::fresh().await;
    let (one, other) = tokio::join!(replica(&database.url), replica(&database.url));
    let (_one, _other) = (hears(&one), hears(&other));
    let first = login(&one, "ada").await;
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let load = async |from: &Auth, to: &Auth| {
        while !stop.load(Ordering::Relaxed) {
            let token = again(from, "ada").await.access_token;
            to.authenticate(&token).await.unwrap();
            from.authenticate(&token).await.unwrap();
            served.fetch_add(1, Ordering::Relaxed);
        }
    };
    let rotate = async {
        for rotated in 1..=2 {
            let keys = one.send(RotateKeys { now: false }).await.unwrap();
            assert_eq!(keys[rotated].state, KeyUse::Waits);
            for auth in [&one, &other] {
                eventually("the new key signs", async || {
                    let keys = auth.ask(ListKeys).await.unwrap();
                    (keys[rotated].state == KeyUse::Signs).then_some(())
                })
                .await;
            }
            let more = served.load(Ordering::Relaxed) + 20;
            eventually("the load goes on", async || {
                (served.load(Ordering::Relaxed) >= more).then_some(())
            })
            .await;
        }
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(load(&one, &other), load(&other, &one), rotate);
    // A key that leaked.
    let last = again(&other, "ada").await.access_token;
    other.authenticate(&last).await.unwrap();
    one.send(RotateKeys { now: true }).await.unwrap();
    eventually("the other refuses what the old keys signed", async || {
        for token in [&first, &last] {
            let refused = other.authenticate(token).await.err()?;
            assert!(
                matches!(refused, AuthRefusal::UnknownKey | AuthRefusal::Revoked),
                "{refused}"
            );
        }
        Some(())
    })
    .await;
    let fresh = again(&other, "ada").await.access_token;
    one.authenticate(&fresh).await.unwrap();
}
