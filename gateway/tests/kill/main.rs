//! `kill -9` at any moment costs nothing that was acknowledged.
//!
//! Several clients write while the server is killed at random moments, twenty times, and started
//! again on the same folder. Each time, what was acknowledged must be there by GET, and must have
//! reached the feed and the inboxes: once, in its latest state. A write that was under way at the
//! kill may have happened or not: both are right, but then everything has to agree on which.
//!
//! | file | what |
//! |---|---|
//! | [`server`] | the process: started, killed, stopped |
//! | [`log`] | what lies on the topics in the end |
//!
//! The writers, and what must be true after them, are in [`testkit::community`], which the fleet's tests
//! share.

#![expect(
    clippy::unwrap_used,
    reason = "a test that can't be set up should say where"
)]

mod log;
mod server;

use std::time::{Duration, Instant};

use rand::Rng;
use tokio::task::JoinSet;

use server::Server;
use testkit::community::people::{Habits, Writer};
use testkit::community::{events, people, truth};

const KILLS: usize = 20;
const WRITERS: usize = 6;
const HABITS: Habits = Habits {
    community: "kill",
    accounts: 3,
    pause: Duration::ZERO,
};
/// How long the clients write before a kill, in ms.
const UNTIL_THE_KILL: std::ops::Range<u64> = 10..700;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_twenty_kills_and_reaches_feed_and_inbox_once() {
    let began = Instant::now();
    let folder = tempfile::tempdir().unwrap();
    let mut writers: Vec<Writer> = (0..WRITERS).map(|n| Writer::new(HABITS, n)).collect();
    let mut server = Server::start(folder.path()).await;
    for round in 1..=KILLS {
        let mut at_work = JoinSet::new();
        for writer in writers {
            let client = server.client();
            at_work.spawn(writer.work_until_gone(client));
        }
        let pause = rand::rng().random_range(UNTIL_THE_KILL);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        server.kill().await;
        // Nobody answers any more, so each comes to its end.
        writers = at_work.join_all().await;
        server = Server::start(folder.path()).await;
        truth::settle(&server.client(), &mut writers).await;
        truth::feed_and_inboxes_agree(&server.client(), &writers).await;
        eprintln!(
            "kill {round:2} after {pause:3} ms: {}",
            people::count(&writers)
        );
    }
    truth::every_post_by_its_id(&server.client(), &writers).await;
    let mut topics = Vec::new();
    for topic in events::TOPICS {
        topics.push((topic, log::events(folder.path(), topic).await));
    }
    let arrived = events::every_key_is_complete(&topics, &writers);
    assert_eq!(arrived.of_others, 0, "nobody else is here");
    let (arrived, count) = (arrived.of_writers, people::count(&writers));
    assert!(
        arrived >= count.acknowledged + count.took_place,
        "{arrived} events of {count}"
    );
    server.stop().await;
    println!(
        "{KILLS} kills in {} s: {count}; {arrived} events arrived; nothing lost, nothing twice",
        began.elapsed().as_secs()
    );
}
