//! A member's share of its group: partitions, the start of each, records that were fetched, and those
//! that are in the caller's hands. No Kafka in here: the [`crate::poller`] fills it, the
//! [`crate::member`] empties it.
//!
//! Invariants: a record is handed out only while its partition is owned, in offset order; a partition
//! that was rewound or revoked has no record left from before.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use blocks::bus::{BusError, Record, TopicPartition, partitions_of};
use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::records::size;

/// Records that may wait for the caller; fetching stops there. So many that a member that is behind has
/// some of each partition: brokers give a thousand of one, then a thousand of the next.
const MOST_RECORDS: usize = 16_000;
/// Bytes of them.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// Where reading a partition begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// The positions were not asked yet.
    Unknown,
    /// Its oldest record.
    Oldest,
    /// An offset.
    At(i64),
}

/// One time that a partition is read from its start on: a rewind begins another one.
pub(crate) type Run = u64;

/// See the module.
#[derive(Default)]
pub(crate) struct Holdings {
    state: Mutex<State>,
    /// Rung when the caller may find something.
    pub(crate) news: Notify,
    /// Rung when the poller has something to do.
    pub(crate) wake: Notify,
}

#[derive(Default)]
struct State {
    owned: BTreeMap<TopicPartition, Stand>,
    last_run: Run,
    /// By partition, in offset order; none is empty.
    fetched: BTreeMap<TopicPartition, VecDeque<Record>>,
    records: usize,
    bytes: usize,
    in_hand: BTreeSet<TopicPartition>,
    failure: Option<BusError>,
    /// No broker can be reached, as far as the client knows.
    is_away: bool,
    commits: BTreeMap<TopicPartition, i64>,
    /// The poller waits until the caller is done, or there is room.
    poller_waits: bool,
}

#[derive(Debug, Clone, Copy)]
struct Stand {
    run: Run,
    start: Start,
}

/// The caller's next step.
pub(crate) enum Found {
    Records(Vec<Record>),
    Failure(BusError),
    /// Partitions of these topics wait to be told where they start.
    Starts(Starts),
    /// The brokers were out of reach when last heard of.
    Away,
    Nothing,
}

/// Partitions without a start, by topic.
pub(crate) type Starts = BTreeMap<String, Vec<(i32, Run)>>;

/// Changes for the poller.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Are read and should not be.
    pub(crate) stop: Vec<TopicPartition>,
    /// Should be read, from there.
    pub(crate) start: Vec<(TopicPartition, Run, Start)>,
    /// To be committed.
    pub(crate) commits: BTreeMap<TopicPartition, i64>,
}

impl Holdings {
    // The caller's side.

    /// The caller is done with its records.
    pub(crate) fn done(&self) {
        let mut state = self.state.lock();
        state.in_hand.clear();
        self.call_poller(&mut state);
    }

    /// Up to `max` records, or the step that comes first. Of all that wait the oldest come first, as far as
    /// the order of each partition allows: events are seen roughly in the order of their times.
    pub(crate) fn take(&self, max: usize) -> Found {
        let mut state = self.state.lock();
        if let Some(failure) = state.failure.take() {
            return Found::Failure(failure);
        }
        let mut starts = Starts::new();
        for (partition, stand) in &state.owned {
            if stand.start == Start::Unknown {
                let of_topic = starts.entry(partition.topic.clone()).or_default();
                of_topic.push((partition.partition, stand.run));
            }
        }
        if !starts.is_empty() {
            return Found::Starts(starts);
        }
        if state.fetched.is_empty() {
            return if state.is_away {
                Found::Away
            } else {
                Found::Nothing
            };
        }
        let records = state.oldest(max);
        state.in_hand.extend(partitions_of(&records));
        if state.has_room() {
            self.call_poller(&mut state);
        }
        Found::Records(records)
    }

    /// Says where partitions of `topic` start, those that were not rewound or lost meanwhile.
    pub(crate) fn start(&self, topic: &str, runs: &[(i32, Run)], next: &BTreeMap<i32, i64>) {
        let mut state = self.state.lock();
        for (partition, run) in runs {
            let partition = TopicPartition {
                topic: topic.to_owned(),
                partition: *partition,
            };
            if let Some(stand) = state.owned.get_mut(&partition)
                && stand.run == *run
            {
                let at = next.get(&partition.partition);
                stand.start = at.map_or(Start::Oldest, |at| Start::At(*at));
            }
        }
        self.wake.notify_one();
    }

    /// Every partition is to be read again from where the positions say.
    pub(crate) fn rewind(&self) {
        let mut state = self.state.lock();
        let State {
            owned, last_run, ..
        } = &mut *state;
        for stand in owned.values_mut() {
            *last_run += 1;
            *stand = Stand {
                run: *last_run,
                start: Start::Unknown,
            };
        }
        state.drop_fetched();
        state.in_hand.clear();
        self.wake.notify_one();
    }

    /// Notes offsets for lag tools.
    pub(crate) fn commit(&self, next: &BTreeMap<TopicPartition, i64>) {
        let next = next.iter().map(|(partition, at)| (partition.clone(), *at));
        self.state.lock().commits.extend(next);
        self.wake.notify_one();
    }

    /// A broker answered after all.
    pub(crate) fn is_back(&self) {
        self.state.lock().is_away = false;
    }

    // The poller's side.

    /// The group gave `partitions` to this member.
    pub(crate) fn assigned(&self, partitions: Vec<TopicPartition>) {
        let mut state = self.state.lock();
        for partition in partitions {
            state.last_run += 1;
            let stand = Stand {
                run: state.last_run,
                start: Start::Unknown,
            };
            state.owned.insert(partition, stand);
        }
        state.is_away = false;
        self.news.notify_one();
    }

    /// Takes away `partitions` and their fetched records: nothing more of them is handed out. The caller may
    /// still have some in hand: see [`Holdings::is_done_with`].
    pub(crate) fn revoke(&self, partitions: &[TopicPartition]) {
        let mut state = self.state.lock();
        for partition in partitions {
            state.owned.remove(partition);
            if let Some(records) = state.fetched.remove(partition) {
                state.records -= records.len();
                state.bytes -= records.iter().map(size).sum::<usize>();
            }
        }
    }

    /// True if the caller has nothing of `partitions` in hand. Otherwise the poller is woken when it is
    /// done.
    pub(crate) fn is_done_with(&self, partitions: &[TopicPartition]) -> bool {
        let mut state = self.state.lock();
        let in_hand = partitions
            .iter()
            .any(|partition| state.in_hand.contains(partition));
        state.poller_waits |= in_hand;
        !in_hand
    }

    /// The client was lost, and all that it had.
    pub(crate) fn lost(&self, failure: BusError) {
        let mut state = self.state.lock();
        state.owned.clear();
        state.drop_fetched();
        state.in_hand.clear();
        state.failure = Some(failure);
        self.news.notify_one();
    }

    /// Something does not work, and the caller should know.
    pub(crate) fn failed(&self, failure: BusError) {
        self.state.lock().failure = Some(failure);
        self.news.notify_one();
    }

    /// The client lost sight of every broker.
    pub(crate) fn unavailable(&self) {
        self.state.lock().is_away = true;
        self.news.notify_one();
    }

    /// Takes up records that were fetched in the runs that `reading` names, and drops those of others.
    pub(crate) fn fetched(&self, records: Vec<Record>, reading: &BTreeMap<TopicPartition, Run>) {
        let mut state = self.state.lock();
        for record in records {
            let partition = record.topic_partition();
            let owned = state.owned.get(&partition).map(|stand| stand.run);
            if owned.is_some() && owned == reading.get(&partition).copied() {
                state.records += 1;
                state.bytes += size(&record);
                state
                    .fetched
                    .entry(partition)
                    .or_default()
                    .push_back(record);
            }
        }
        state.is_away = false;
        self.news.notify_one();
    }

    /// True if more may be fetched. Otherwise the poller is woken when the caller took some.
    pub(crate) fn has_room(&self) -> bool {
        let mut state = self.state.lock();
        let has_room = state.has_room();
        state.poller_waits |= !has_room;
        has_room
    }

    /// Changes for a client that reads `reading`.
    pub(crate) fn plan(&self, reading: &BTreeMap<TopicPartition, Run>) -> Plan {
        let mut state = self.state.lock();
        let mut plan = Plan {
            commits: std::mem::take(&mut state.commits),
            ..Plan::default()
        };
        for (partition, run) in reading {
            if state
                .owned
                .get(partition)
                .is_none_or(|stand| stand.run != *run)
            {
                plan.stop.push(partition.clone());
            }
        }
        for (partition, stand) in &state.owned {
            if stand.start != Start::Unknown && reading.get(partition) != Some(&stand.run) {
                plan.start.push((partition.clone(), stand.run, stand.start));
            }
        }
        plan
    }

    fn call_poller(&self, state: &mut State) {
        if std::mem::take(&mut state.poller_waits) {
            self.wake.notify_one();
        }
    }
}

impl State {
    fn has_room(&self) -> bool {
        self.records < MOST_RECORDS && self.bytes < MOST_BYTES
    }

    fn drop_fetched(&mut self) {
        self.fetched.clear();
        self.records = 0;
        self.bytes = 0;
    }

    fn oldest(&mut self, max: usize) -> Vec<Record> {
        let mut taken = Vec::with_capacity(max.min(self.records));
        while taken.len() < max {
            let waiting = self
                .fetched
                .values_mut()
                .filter(|records| !records.is_empty());
            let Some(next) = waiting.min_by(|one, other| head(one).cmp(&head(other))) else {
                break;
            };
            taken.extend(next.pop_front());
        }
        self.fetched.retain(|_, records| !records.is_empty());
        self.records -= taken.len();
        self.bytes -= taken.iter().map(size).sum::<usize>();
        taken
    }
}

/// The time of the first record, and its key for records of the same time.
fn head(records: &VecDeque<Record>) -> Option<(DateTime<Utc>, Option<&str>)> {
    let first = records.front()?;
    Some((first.time, first.key.as_deref()))
}

#[cfg(test)]
mod tests;
