//! The contract of `blocks::bus`, one function a promise, each with topics and groups of its own, so
//! that they may share a broker. An adapter's whole test file is
//! `testkit::bus_contract!(async { adapter });`.

mod faulty;
mod groups;
mod records;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use blocks::bus::{EventBus, Positions, Record, Subscription, TopicSpec};
use blocks::{Clock, SystemClock};
use chrono::{DateTime, TimeDelta, Utc};
use events::{Cleanup, Message};
use tokio::time::timeout;

pub use faulty::{BusFaults, FaultyBus, Publish};
pub use groups::*;
pub use records::*;

use crate::positions::MemoryPositions;

/// How long a record may take to come, and a group to settle, before the promise counts as broken.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The start of the run. A broker may drop records older than its topic keeps, and refuses those in the
/// future.
pub static BEGAN: LazyLock<DateTime<Utc>> = LazyLock::new(|| SystemClock.now());

/// Abilities of an adapter beyond the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guarantees {
    /// True if [`Adapter::reopen`] gives the kept records; false if no test can stop the adapter's broker.
    pub reopens: bool,
    /// Longest time until a group notices a new member. Tests wait this long for things that must not
    /// happen.
    pub settles: Duration,
}

/// An adapter of the bus, as its test file gives it to the suite.
#[async_trait]
pub trait Adapter: Send {
    /// The bus.
    fn bus(&self) -> Arc<dyn EventBus>;

    /// The adapter's abilities.
    fn guarantees(&self) -> Guarantees;

    /// Stops the bus and opens it again on its stored data.
    async fn reopen(&mut self);
}

/// Writes one test for each promise of the bus. An attribute before the adapter goes to each test:
/// `testkit::bus_contract!(#[ignore = "needs a broker"] async { … });`
#[macro_export]
macro_rules! bus_contract {
    (@each $attributes:tt $adapter:expr; $($promise:ident,)*) => {
        $($crate::bus_contract!(@one $attributes $adapter; $promise);)*
    };
    (@one [$($attributes:tt)*] $adapter:expr; $promise:ident) => {
        $($attributes)*
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            let mut adapter = $adapter.await;
            $crate::bus::$promise(&mut adapter).await;
        }
    };
    (@all $attributes:tt $adapter:expr) => {
        $crate::bus_contract!(@each $attributes $adapter;
            records_come_back_as_they_were_published,
            records_of_a_key_keep_their_order_and_their_partition,
            concurrent_publishers_keep_the_order_of_each_key,
            what_was_accepted_survives_a_reopen,
            topics_are_made_once_and_listed,
            another_partition_count_is_refused,
            an_unknown_topic_is_refused,
            an_oversized_message_is_refused_and_those_before_it_stay,
            partitions_are_read_without_a_group,
            a_new_group_starts_at_the_oldest_record,
            groups_do_not_know_of_each_other,
            positions_decide_where_a_member_starts,
            a_member_reads_several_topics,
            a_batch_is_never_larger_than_asked_for,
            a_cancelled_wait_loses_nothing,
            a_waiting_member_is_woken_by_a_publish,
            a_rewind_goes_back_to_the_positions,
            unreachable_positions_are_reported_and_asked_again,
            commits_are_taken_and_never_read_back,
            two_members_share_the_partitions_and_read_nothing_twice,
            a_partition_changes_hands_only_between_two_batches,
            a_member_that_leaves_hands_its_partitions_over,
            a_member_that_joins_in_the_middle_loses_and_repeats_nothing,
        );
    };
    // Before an expression a repetition of attributes could not be told from its own.
    (#[$attribute:meta] $adapter:expr) => {
        $crate::bus_contract!(@all [#[$attribute]] $adapter);
    };
    ($adapter:expr) => {
        $crate::bus_contract!(@all [] $adapter);
    };
}

/// A topic that nobody else uses.
pub async fn fresh_topic(bus: &dyn EventBus, partitions: u16) -> String {
    let name = format!("t.{}", SystemClock.id());
    let cleanup = Cleanup::Delete {
        after_ms: events::topic::WEEK_MS,
    };
    let spec = TopicSpec {
        name: name.clone(),
        partitions,
        cleanup,
    };
    bus.ensure_topics(&[spec]).await.unwrap();
    name
}

/// A group that nobody else is in.
pub fn fresh_group() -> String {
    format!("g.{}", SystemClock.id())
}

/// The `n`th message of a key.
pub fn message(topic: &str, key: &str, n: usize) -> Message {
    Message {
        topic: topic.to_owned(),
        key: key.to_owned(),
        headers: vec![("n".to_owned(), n.to_string())],
        value: format!("{key} {n}").into_bytes(),
        time: *BEGAN + TimeDelta::milliseconds(i64::try_from(n).unwrap()),
    }
}

/// `count` messages of each of `keys`, in turn.
pub fn messages(topic: &str, keys: &[&str], count: usize) -> Vec<Message> {
    (0..count)
        .flat_map(|n| keys.iter().map(move |key| message(topic, key, n)))
        .collect()
}

/// A member of `group`, and the offsets that decide where it starts.
pub async fn member(
    bus: &dyn EventBus,
    group: &str,
    topic: &str,
    positions: &Arc<MemoryPositions>,
) -> Box<dyn Subscription> {
    let positions = Arc::clone(positions) as Arc<dyn Positions>;
    bus.subscribe(group, &[topic.to_owned()], positions)
        .await
        .unwrap()
}

/// Waits until `count` records came.
///
/// # Panics
/// When they don't come.
pub async fn take(member: &mut dyn Subscription, count: usize) -> Vec<Record> {
    let mut records = Vec::new();
    while records.len() < count {
        let more = timeout(PATIENCE, member.next(100)).await;
        let more = more.unwrap_or_else(|_| panic!("{} of {count} records came", records.len()));
        records.extend(more.unwrap());
    }
    records
}

/// The values by key, in the order of the records.
pub fn by_key(records: &[Record]) -> BTreeMap<String, Vec<String>> {
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for record in records {
        values
            .entry(record.key.clone().unwrap())
            .or_default()
            .push(String::from_utf8(record.value.clone()).unwrap());
    }
    values
}

/// The result of [`by_key`] expected for [`messages`].
pub fn expected(keys: &[&str], count: usize) -> BTreeMap<String, Vec<String>> {
    keys.iter()
        .map(|key| {
            let values = (0..count).map(|n| format!("{key} {n}")).collect();
            ((*key).to_owned(), values)
        })
        .collect()
}
