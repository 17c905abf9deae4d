//! People who write while something breaks, and the account of what became of it.

use std::time::{Duration, Instant};

use testkit::community::events::TOPICS;
use testkit::community::people::{self, Count, Habits, Writer};
use testkit::community::{events, truth};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::stack::{Fleet, eventually};

const WRITERS: usize = 5;

/// The writers of a community.
pub struct Writers {
    habits: Habits,
    writers: Vec<Writer>,
}

impl Writers {
    /// Nobody wrote yet.
    pub fn of(community: &'static str) -> Self {
        let habits = Habits {
            community,
            accounts: 8,
            // The MongoDB-wire server of the stack reads every post for each page of a list, so there must
            // not be too many of them.
            pause: Duration::from_millis(250),
        };
        let writers = (0..WRITERS).map(|number| Writer::new(habits, number));
        Self {
            habits,
            writers: writers.collect(),
        }
    }

    /// Has them write while something happens; each finishes what it is at.
    pub async fn during(self, fleet: &Fleet, something: impl Future<Output = ()>) -> Self {
        let stop = CancellationToken::new();
        let mut at_work = JoinSet::new();
        for writer in self.writers {
            at_work.spawn(writer.work(fleet.gateway(), stop.clone()));
        }
        something.await;
        stop.cancel();
        Self {
            habits: self.habits,
            writers: at_work.join_all().await,
        }
    }

    /// Has them write for so long.
    pub async fn write_for(self, fleet: &Fleet, time: Duration) -> Self {
        self.during(fleet, tokio::time::sleep(time)).await
    }

    /// The outcome of their writes so far.
    pub fn count(&self) -> Count {
        people::count(&self.writers)
    }

    /// Compares what they were told with what is there now. Every acknowledged write is in the posts, the
    /// feed, the inboxes and on the topics, once. There is nothing else, and nothing was given up on.
    pub async fn account(&mut self, fleet: &Fleet) -> Count {
        fleet.well().await;
        let client = fleet.gateway();
        let began = Instant::now();
        truth::settle(&client, &mut self.writers).await;
        truth::feed_and_inboxes_agree(&client, &self.writers).await;
        let count = self.count();
        let arrived = eventually("every event is on its topic", async || {
            let mut topics = Vec::new();
            for topic in TOPICS {
                topics.push((topic, fleet.events(topic).await));
            }
            let arrived = events::every_key_is_complete(&topics, &self.writers).of_writers;
            if arrived >= count.acknowledged + count.took_place {
                Ok(arrived)
            } else {
                Err(format!("{arrived} events of {count}"))
            }
        })
        .await;
        // Nothing that was cut off takes place after all.
        truth::settle(&client, &mut self.writers).await;
        assert_eq!(self.count(), count, "something took place late");
        assert_eq!(fleet.dead_letters().await, 0, "something was given up on");
        println!(
            "{}: {count}; {arrived} events arrived, held against it within {} s; nothing lost, nothing \
             twice, no dead dead_letter",
            self.habits.community,
            began.elapsed().as_secs()
        );
        self.count()
    }
}
