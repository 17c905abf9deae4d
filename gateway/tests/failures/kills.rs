//! Services that are killed at any moment, while people write.

use std::time::Duration;

use rand::Rng;

use crate::load::Writers;
use crate::stack::{Fleet, end, shuffled};

/// How often each service is killed.
const ROUNDS: usize = 2;
/// How long people write before a kill, in ms.
const UNTIL_THE_KILL: std::ops::Range<u64> = 50..900;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_arrives_whichever_service_is_killed() {
    let fleet = Fleet::whole().await;
    let mut writers = Writers::of("kills");
    for round in 1..=ROUNDS {
        for service in shuffled(fleet.services()) {
            let pid = fleet.pid(service).await;
            let pause = rand::rng().random_range(UNTIL_THE_KILL);
            let killed = async {
                tokio::time::sleep(Duration::from_millis(pause)).await;
                end(pid, "KILL").await;
                fleet.start(&[service]).await;
            };
            writers = writers.during(&fleet, killed).await;
            let count = writers.count();
            println!("round {round}, {service} killed after {pause:3} ms: {count}");
        }
    }
    assert!(writers.count().cut_off > 0, "nobody noticed");
    writers.account(&fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_arrives_when_everything_is_killed_at_once() {
    let fleet = Fleet::whole().await;
    let mut writers = Writers::of("all")
        .write_for(&fleet, Duration::from_secs(2))
        .await;
    let all = [fleet.servers(), fleet.services()].concat();
    let mut pids = Vec::new();
    for part in &all {
        pids.push(fleet.pid(part).await);
    }
    let killed = async {
        futures::future::join_all(pids.iter().map(|pid| end(*pid, "KILL"))).await;
    };
    writers = writers.during(&fleet, killed).await;
    fleet.script(&["up", "--no-build"]).await;
    writers = writers.write_for(&fleet, Duration::from_secs(1)).await;
    writers.account(&fleet).await;
}
