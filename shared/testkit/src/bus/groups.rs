//! Promises about consumer groups: each sees every record, and a partition has one member at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use blocks::bus::{Record, Subscription, next_offsets};
use futures::FutureExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{
    Adapter, PATIENCE, by_key, expected, fresh_group, fresh_topic, member, message, messages, take,
};
use crate::positions::MemoryPositions;

/// A group without offsets gets everything that is still there.
pub async fn a_new_group_starts_at_the_oldest_record(adapter: &mut dyn Adapter) {
    let bus = adapter.bus();
    let topic = fresh_topic(&*bus, 3).await;
    bus.publish(&messages(&topic, &["a", "b", "c"], 5))
        .await
        .unwrap();
    let mut reader = member(&*bus, &fresh_group(), &topic, &Arc::default()).await;
    let records = take(&mut *reader, 15).await;
    assert_eq!(by_key(&records), expected(&["a", "b", "c"], 5));
}

/// Each group sees every record, however far the others are.
pub async fn groups_do_not_know_of_each_other(adapter: &mut dyn Adapter) {
    let bus = adapter.bus();
    let topic = fresh_topic(&*bus, 3).await;
    let mut first = member(&*bus, &fresh_group(), &topic, &Arc::default()).await;
    bus.publish(&messages(&topic, &["a", "b"], 5))
        .await
        .unwrap();
    assert_eq!(
        by_key(&take(&mut *first, 10).await),
        expected(&["a", "b"], 5)
    );
    let mut second = member(&*bus, &fresh_group(), &topic, &Arc::default()).await;
    bus.publish(&messages(&topic, &["c"], 5)).await.unwrap();
    assert_eq!(
        by_key(&take(&mut *second, 15).await),
        expected(&["a", "b", "c"], 5)
    );
    assert_eq!(by_key(&take(&mut *first, 5).await), expected(&["c"], 5));
}

/// A member continues at the offsets of its own store, in each partition.
pub async fn positions_decide_where_a_member_starts(adapter: &mut dyn Adapter) {
    let bus = adapter.bus();
    let topic = fresh_topic(&*bus, 2).await;
    let keys = ["a", "b", "c", "d", "e", "f"];
    bus.publish(&messages(&topic, &keys, 10)).await.unwrap();
    let group = fresh_group();
    let positions = Arc::new(MemoryPositions::default());
    let mut reader = member(&*bus, &group, &topic, &positions).await;
    let records = take(&mut *reader, 60).await;
    drop(reader);
    // All was read, but only the first half of each partition was kept.
    let mut rest = Vec::new();
    for partition in 0..2 {
        let of_partition: Vec<&Record> = records
            .iter()
            .filter(|record| record.partition == partition)
            .collect();
        let (kept, lost) = of_partition.split_at(of_partition.len() / 2);
        positions.set(
            &topic,
            partition,
            kept.last().map_or(0, |record| record.offset + 1),
        );
        rest.extend(lost.iter().copied().cloned());
    }
    let mut reader = member(&*bus, &group, &topic, &positions).await;
    assert_eq!(by_key(&take(&mut *reader, rest.len()).await), by_key(&rest));
}

/// One member reads all topics it asked for.
pub async fn a_member_reads_several_topics(adapter: &mut dyn Adapter) {
    let bus = adapter.bus();
    let topics = [fresh_topic(&*bus, 3).await, fresh_topic(&*bus, 2).await];
    let positions = Arc::new(MemoryPositions::default());
    let mut reader = bus
        .subscribe(&fresh_group(), &topics, positions)
        .await
        .unwrap();
    let mut seen = BTreeSet::new();
    for round in 0..3 {
        for topic in &topics {
            bus.publish(&[message(topic, "a", round)]).await.unwrap();
        }
        for record in take(&mut *reader, 2).await {
            seen.insert((record.topic, record.value));
        }
    }
    assert_eq!(seen.len(), 6);
}

/// Members that wait for records get them when they are published.
pub async fn a_waiting_member_is_woken_by_a_publish(adapter: &mut dyn Adapter) {
    let bus = adapter.bus();
    let topic = fresh_topic(&*bus, 3).await;
    let mut reader = member(&*bus, &fresh_group(), &topic, &Arc::default()).await;
    for n in 0..20 {
        let waiting = reader.next(10);
        tokio::pin!(waiting);
        assert!(
            (&mut waiting).now_or_never().is_none(),
            "records from nowhere"
        );
        bus.publish(&[message(&topic, "a", n)]).await.unwrap();
        let records = timeout(PATIENCE, waiting).await.expect("woken").unwrap();
        assert_eq!(records[0].value, format!("a {n}").into_bytes());
    }
}

/// A store that was emptied, or rolled back, is filled again from the records that are there.
pub async fn a_rewind_goes_back_to_the_positions(adapter: &mut dyn Adapter) {
    let bus = adapter.bus();
    let topic = fresh_topic(&*bus, 3).await;
    let keys = ["a", "b", "c"];
    bus.publish(&messages(&topic, &keys, 10)).await.unwrap();
    let positions = Arc::new(MemoryPositions::default());
    let mut reader = member(&*bus, &fresh_group(), &topic, &positions).await;
    positions.handled(&take(&mut *reader, 30).await);
    positions.clear();
    reader.rewind().await.unwrap();
    let again = take(&mut *reader, 30).await;
    assert_eq!(by_key(&again), expected(&keys, 10));
    // From the stored offsets, not from the start.
    positions.handled(&again);
    reader.rewind().await.unwrap();
    bus.publish(&[message(&topic, "a", 10)]).await.unwrap();
    let more = take(&mut *reader, 1).await;
    assert_eq!(more.len(), 1);
    assert_eq!(more[0].value, b"a 10");
}

/// A store that can't be reached is an error, and asked again the next time; nothing is skipped.
pub async fn unreachable_positions_are_reported_and_asked_again(adapter: &mut dyn Adapter) {
    let bus = adapter.bus();
    let topic = fresh_topic(&*bus, 3).await;
    bus.publish(&messages(&topic, &["a", "b"], 5))
        .await
        .unwrap();
    let positions = Arc::new(MemoryPositions::default());
    positions.unavailable(true);
    let mut reader = member(&*bus, &fresh_group(), &topic, &positions).await;
    for _ in 0..3 {
        timeout(PATIENCE, reader.next(10))
            .await
            .expect("an answer")
            .unwrap_err();
    }
    positions.unavailable(false);
    assert_eq!(
        by_key(&take(&mut *reader, 10).await),
        expected(&["a", "b"], 5)
    );
    positions.unavailable(true);
    reader.rewind().await.unwrap_err();
    timeout(PATIENCE, reader.next(10))
        .await
        .expect("an answer")
        .unwrap_err();
    positions.unavailable(false);
    assert_eq!(
        by_key(&take(&mut *reader, 10).await),
        expected(&["a", "b"], 5)
    );
}

/// A member's commits serve lag tools: a group starts at the offsets in its store.
pub async fn commits_are_taken_and_never_read_back(adapter: &mut dyn Adapter) {
    let bus = adapter.bus();
    let topic = fresh_topic(&*bus, 1).await;
    bus.publish(&messages(&topic, &["a"], 5)).await.unwrap();
    let group = fresh_group();
    let positions = Arc::new(MemoryPositions::default());
    let mut reader = member(&*bus, &group, &topic, &positions).await;
    let records = take(&mut *reader, 5).await;
    reader.commit(&next_offsets(&records)).await.unwrap();
    drop(reader);
    let mut reader = member(&*bus, &group, &topic, &positions).await;
    assert_eq!(take(&mut *reader, 5).await.len(), 5);
}

/// Two members of a group have the partitions between them: no record comes to both.
pub async fn two_members_share_the_partitions_and_read_nothing_twice(adapter: &mut dyn Adapter) {
    let bus = adapter.bus();
    let topic = fresh_topic(&*bus, 6).await;
    let mut group = Team::new(&topic);
    group.join(member(&*bus, &group.name, &topic, &group.positions).await);
    group.join(member(&*bus, &group.name, &topic, &group.positions).await);
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let mut rounds = 0;
    // A broker may take a moment to share out; until then one member reads all.
    while rounds < 5 || group.readers().len() < 2 {
        assert!(
            rounds < 500,
            "the second member was never given a partition"
        );
        let batch: Vec<_> = keys
            .iter()
            .map(|key| message(&topic, key, rounds))
            .collect();
        bus.publish(&batch).await.unwrap();
        rounds += 1;
        group.wait_for(rounds * keys.len()).await;
    }
    assert_eq!(by_key(&group.records()), expected(&keys, rounds));
}

/// A joining member gets nothing that another one has in hand; it does once that one asks for more, and so
/// is done with it.
pub async fn a_partition_changes_hands_only_between_two_batches(adapter: &mut dyn Adapter) {
    let bus = adapter.bus();
    let topic = fresh_topic(&*bus, 4).await;
    let name = fresh_group();
    let positions = Arc::new(MemoryPositions::default());
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
    bus.publish(&messages(&topic, &keys, 3)).await.unwrap();
    let mut first = member(&*bus, &name, &topic, &positions).await;
    let in_hand = take(&mut *first, 24).await;
    let mut second = member(&*bus, &name, &topic, &positions).await;
    let too_early = timeout(adapter.guarantees().settles, second.next(100)).await;
    assert!(too_early.is_err(), "read by two: {too_early:?}");

    positions.handled(&in_hand);
    let mut read = [Vec::new(), Vec::new()];
    let mut rounds = 0;
    while read.iter().any(Vec::is_empty) {
        assert!(
            rounds < 500,
            "the second member was never given a partition"
        );
        bus.publish(&messages(&topic, &keys, 1)).await.unwrap();
        rounds += 1;
        while read.iter().map(Vec::len).sum::<usize>() < rounds * keys.len() {
            let (who, batch) = tokio::select! {
                batch = first.next(100) => (0, batch.unwrap()),
                batch = second.next(100) => (1, batch.unwrap()),
                () = tokio::time::sleep(PATIENCE) => panic!("no records came"),
            };
            positions.handled(&batch);
            read[who].extend(batch);
        }
    }
    let all = by_key(&read.concat());
    assert!(all.values().all(|values| values.len() == rounds), "{all:?}");
}

/// The partitions of a member that leaves are read by those who stay.
pub async fn a_member_that_leaves_hands_its_partitions_over(adapter: &mut dyn Adapter) {
    let bus = adapter.bus();
    let topic = fresh_topic(&*bus, 4).await;
    let name = fresh_group();
    let positions = Arc::new(MemoryPositions::default());
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let mut stays = member(&*bus, &name, &topic, &positions).await;
    let mut leaves = member(&*bus, &name, &topic, &positions).await;
    // Both wait, so both have their partitions.
    let read = tokio::select! {
        biased;
        read = stays.next(1) => read,
        read = leaves.next(1) => read,
        // Nothing is there to be read yet.
        () = std::future::ready(()) => Ok(Vec::new()),
    };
    assert_eq!(read.unwrap(), []);
    bus.publish(&messages(&topic, &keys, 3)).await.unwrap();
    // The one that leaves had records in hand and kept nothing of them.
    if let Ok(batch) = timeout(Duration::from_secs(5), leaves.next(100)).await {
        batch.unwrap();
    }
    drop(leaves);
    let records = take(&mut *stays, 24).await;
    assert_eq!(by_key(&records), expected(&keys, 3));
    positions.handled(&records);
    bus.publish(&messages(&topic, &["i", "j", "k"], 3))
        .await
        .unwrap();
    let records = take(&mut *stays, 9).await;
    assert_eq!(by_key(&records), expected(&["i", "j", "k"], 3));
}

/// While members come and go, every record is read, in order, and none by two.
pub async fn a_member_that_joins_in_the_middle_loses_and_repeats_nothing(
    adapter: &mut dyn Adapter,
) {
    let bus = adapter.bus();
    let topic = fresh_topic(&*bus, 6).await;
    let mut group = Team::new(&topic);
    group.join(member(&*bus, &group.name, &topic, &group.positions).await);
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
    for round in 0..60 {
        let batch: Vec<_> = keys.iter().map(|key| message(&topic, key, round)).collect();
        bus.publish(&batch).await.unwrap();
        if round == 15 || round == 30 {
            group.join(member(&*bus, &group.name, &topic, &group.positions).await);
        }
    }
    group.wait_for(60 * keys.len()).await;
    assert_eq!(by_key(&group.records()), expected(&keys, 60));
}

/// Members of one group at work, with one store.
struct Team {
    name: String,
    positions: Arc<MemoryPositions>,
    members: JoinSet<()>,
    read: mpsc::UnboundedSender<(usize, Vec<Record>)>,
    reads: mpsc::UnboundedReceiver<(usize, Vec<Record>)>,
    seen: Vec<(usize, Record)>,
    topic: String,
}

impl Team {
    fn new(topic: &str) -> Self {
        let (read, reads) = mpsc::unbounded_channel();
        Self {
            name: fresh_group(),
            positions: Arc::default(),
            members: JoinSet::new(),
            read,
            reads,
            seen: Vec::new(),
            topic: topic.to_owned(),
        }
    }

    /// Lets a member read. Like a consumer it stores records and offsets before it asks for more.
    fn join(&mut self, mut member: Box<dyn Subscription>) {
        let (read, positions) = (self.read.clone(), Arc::clone(&self.positions));
        let number = self.members.len();
        self.members.spawn(async move {
            loop {
                let records = member.next(5).await.unwrap();
                positions.handled(&records);
                if read.send((number, records)).is_err() {
                    return;
                }
            }
        });
    }

    /// Waits until `count` records were read, counting those that were read twice.
    async fn wait_for(&mut self, count: usize) {
        while self.seen.len() < count {
            let read = timeout(PATIENCE, self.reads.recv()).await;
            let read = read.unwrap_or_else(|_| {
                panic!(
                    "{} of {count} records were read, the group is at {:?}",
                    self.seen.len(),
                    self.positions.of(&self.topic)
                )
            });
            let (number, records) = read.expect("the team holds a sender");
            self.seen
                .extend(records.into_iter().map(|record| (number, record)));
        }
    }

    fn readers(&self) -> BTreeSet<usize> {
        self.seen.iter().map(|(number, _)| *number).collect()
    }

    fn records(&self) -> Vec<Record> {
        self.seen.iter().map(|(_, record)| record.clone()).collect()
    }
}
