//! Consumer groups: which member reads which partition.
//!
//! A partition changes hands in two steps. It is promised to the new member at once; the old one lets go
//! when it asks for more, so when it is done with its records. So no two members ever have records of one
//! partition in hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use blocks::bus::TopicPartition;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::topics::TopicState;

/// A consumer group.
#[derive(Default)]
pub(super) struct Group {
    state: Mutex<State>,
    /// Counts changes that a member should follow.
    changes: AtomicU64,
}

#[derive(Default)]
struct State {
    members: BTreeMap<u64, Member>,
    /// The member that should read a partition.
    promised: BTreeMap<TopicPartition, u64>,
    /// The member that still has it in hand.
    owned: BTreeMap<TopicPartition, u64>,
}

struct Member {
    topics: Vec<Arc<TopicState>>,
    bell: Arc<Notify>,
}

/// The partitions that a member has to let go of, and those it may take.
#[derive(Default)]
pub(super) struct Exchange {
    pub(super) released: Vec<TopicPartition>,
    pub(super) gained: Vec<TopicPartition>,
}

impl Group {
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    pub(super) fn join(&self, id: u64, topics: Vec<Arc<TopicState>>, bell: Arc<Notify>) {
        let mut state = self.state.lock();
        state.members.insert(id, Member { topics, bell });
        state.share_out();
        self.changed(&state);
    }

    pub(super) fn leave(&self, id: u64) {
        let mut state = self.state.lock();
        state.members.remove(&id);
        state.owned.retain(|_, owner| *owner != id);
        state.share_out();
        self.changed(&state);
    }

    /// Lets member `id` release and take partitions as promised. It is done with all its records by then.
    pub(super) fn exchange(&self, id: u64) -> Exchange {
        let mut state = self.state.lock();
        let State {
            promised, owned, ..
        } = &mut *state;
        let mut exchange = Exchange::default();
        owned.retain(|partition, owner| {
            let keeps = *owner != id || promised.get(partition) == Some(&id);
            if !keeps {
                exchange.released.push(partition.clone());
            }
            keeps
        });
        for (partition, member) in promised.iter() {
            if *member == id && !owned.contains_key(partition) {
                owned.insert(partition.clone(), id);
                exchange.gained.push(partition.clone());
            }
        }
        if !exchange.released.is_empty() {
            self.changed(&state);
        }
        exchange
    }

    fn changed(&self, state: &State) {
        self.changes.fetch_add(1, Ordering::Release);
        for member in state.members.values() {
            member.bell.notify_one();
        }
    }
}

impl State {
    /// Promises every partition to a member: evenly among those that read its topic, and moving few.
    fn share_out(&mut self) {
        let mut readers: BTreeMap<TopicPartition, Vec<u64>> = BTreeMap::new();
        for (id, member) in &self.members {
            for topic in &member.topics {
                for partition in 0..i32::from(topic.count()) {
                    let partition = TopicPartition {
                        topic: topic.name.clone(),
                        partition,
                    };
                    readers.entry(partition).or_default().push(*id);
                }
            }
        }
        self.promised.retain(|partition, member| {
            readers
                .get(partition)
                .is_some_and(|ids| ids.contains(member))
        });
        let mut load: BTreeMap<u64, usize> = self.members.keys().map(|id| (*id, 0)).collect();
        for member in self.promised.values() {
            *load.entry(*member).or_default() += 1;
        }
        // Each move makes the loads more even, so this ends.
        let mut moved = true;
        while moved {
            moved = false;
            for (partition, ids) in &readers {
                let Some(least) = ids.iter().min_by_key(|id| load[id]).copied() else {
                    continue;
                };
                let now = self.promised.get(partition).copied();
                if now.is_none_or(|now| load[&now] > load[&least] + 1) {
                    if let Some(now) = now {
                        *load.entry(now).or_default() -= 1;
                    }
                    *load.entry(least).or_default() += 1;
                    self.promised.insert(partition.clone(), least);
                    moved = true;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use events::Cleanup;

    fn topic(name: &str, partitions: i64) -> Arc<TopicState> {
        let partitions: Vec<(i64, i64)> = (0..partitions).map(|id| (id, 0)).collect();
        let cleanup = Cleanup::Delete { after_ms: 1 };
        Arc::new(TopicState::new(name.into(), cleanup, &partitions))
    }

    fn loads(group: &Group) -> Vec<usize> {
        let state = group.state.lock();
        let count = |id: &u64| {
            state
                .promised
                .values()
                .filter(|member| *member == id)
                .count()
        };
        state.members.keys().map(count).collect()
    }

    #[test]
    fn partitions_are_shared_evenly_among_those_who_read_the_topic() {
        let (a, b) = (topic("a", 6), topic("b", 3));
        let group = Group::default();
        group.join(1, vec![a.clone(), b.clone()], Arc::default());
        assert_eq!(loads(&group), [9]);
        group.join(2, vec![a.clone()], Arc::default());
        assert_eq!(loads(&group), [5, 4]);
        group.join(3, vec![b], Arc::default());
        // No two members of the same topic differ by more than one.
        assert_eq!(loads(&group), [3, 4, 2]);
        group.leave(1);
        assert_eq!(loads(&group), [6, 3]);
    }

    #[test]
    fn a_partition_is_taken_only_after_it_was_let_go() {
        let a = topic("a", 4);
        let group = Group::default();
        group.join(1, vec![a.clone()], Arc::default());
        assert_eq!(group.exchange(1).gained.len(), 4);
        group.join(2, vec![a], Arc::default());
        assert_eq!(group.exchange(2).gained.len(), 0);
        let seen = group.changes();
        assert_eq!(group.exchange(1).released.len(), 2);
        assert!(group.changes() > seen);
        assert_eq!(group.exchange(2).gained.len(), 2);
        // A member that ends without notice lets go of all.
        group.leave(1);
        assert_eq!(group.exchange(2).gained.len(), 2);
    }
}
