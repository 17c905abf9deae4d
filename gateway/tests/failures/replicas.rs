//! Several processes of one service.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::load::Writers;
use crate::stack::{Fleet, eventually};

/// How long a replica may believe a session that ended elsewhere.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);
const A_WHILE: Duration = Duration::from_millis(1_500);

#[tokio::test(flavor = "multi_thread")]
async fn two_feed_generators_share_the_work_and_one_may_be_killed() {
    two_share_and_one_may_be_killed("feed-generator", "feeds").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_notifiers_share_the_work_and_one_may_be_killed() {
    two_share_and_one_may_be_killed("notification", "bells").await;
}

async fn two_share_and_one_may_be_killed(service: &str, community: &'static str) {
    let fleet = Fleet::whole().await;
    let second = format!("{service}-2");
    let mut writers = Writers::of(community);
    // Partitions change hands while events come.
    writers = writers.during(&fleet, fleet.scale(service, 2)).await;
    let shared = eventually_shared(&fleet, service, [service, &second]);
    writers = writers.during(&fleet, shared).await;
    let killed = async {
        fleet.kill(&second).await;
        sleep(A_WHILE).await;
    };
    writers = writers.during(&fleet, killed).await;
    writers.account(&fleet).await;
    let alone = taken_in(&fleet, service, service).await;
    println!("{community}: both took events in; the one that is left {alone}");
    fleet.scale(service, 1).await;
}

/// Both take events in.
async fn eventually_shared(fleet: &Fleet, group: &str, both: [&str; 2]) {
    let of_both = || futures::future::join_all(both.map(|process| taken_in(fleet, process, group)));
    let before = of_both().await;
    eventually("both handle events", async || {
        let now = of_both().await;
        if now.iter().zip(&before).all(|(now, before)| now > before) {
            Ok(())
        } else {
            Err(format!("{before:?}, then {now:?}"))
        }
    })
    .await;
}

/// The number of events that a process has handled for a group.
async fn taken_in(fleet: &Fleet, process: &str, group: &str) -> f64 {
    let name = "consumer_events_total";
    fleet.metric(process, name, &[group, "handled"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ended_is_refused_by_every_replica_of_auth_within_a_second() {
    let fleet = Fleet::whole().await;
    fleet.scale("auth", 3).await;
    let gateway = testkit::http::Client::new(fleet.gateway_address());
    let replicas = ["auth", "auth-2", "auth-3"].map(|part| (part, fleet.direct(part)));
    let (name, password) = ("leaver", "correct horse battery staple");
    let new = json!({"email": "leaver@example.org", "username": name, "password": password});
    let register = gateway
        .send("POST", "/api/auth/register", None, Some(new))
        .await;
    register.expect(201);
    let mut slowest = Duration::ZERO;
    for round in 0..6 {
        let login = json!({"username": name, "password": password});
        let login = gateway
            .send("POST", "/api/auth/login", None, Some(login))
            .await;
        let token = login.expect(200)["access_token"]
            .as_str()
            .unwrap()
            .to_owned();
        let token = Some(token.as_str());
        for (part, replica) in &replicas {
            // The second time it remembers the first.
            for _ in 0..2 {
                let asked = replica.send("GET", "/api/auth/validate", token, None).await;
                assert_eq!(asked.status, 200, "{part}: {}", asked.text());
            }
        }
        if round % 2 == 1 {
            nobody_hears_the_bell(&fleet, replicas.len()).await;
        }
        let logout = gateway.send("POST", "/api/auth/logout", token, None).await;
        assert!(logout.status.is_success(), "{}", logout.text());
        let ended = Instant::now();
        for (part, replica) in &replicas {
            loop {
                let asked = replica.send("GET", "/api/auth/validate", token, None).await;
                let after = ended.elapsed();
                if asked.status == 401 {
                    slowest = slowest.max(after);
                    break;
                }
                assert!(after < REVOKED_WITHIN, "{part} believes it after {after:?}");
                sleep(Duration::from_millis(5)).await;
            }
        }
    }
    println!("revocation: refused by every replica after {slowest:?} at most");
    fleet.scale("auth", 1).await;
}

/// Ends the connections on which replicas are told at once; they are made again.
async fn nobody_hears_the_bell(fleet: &Fleet, replicas: usize) {
    let ended = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
        where query ilike 'listen %'";
    let ended: usize = fleet.psql(ended).await.parse().unwrap();
    assert!(ended >= replicas, "{ended} of {replicas} listened");
}
