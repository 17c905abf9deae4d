//! Polls a member's client, even while its caller is busy.
//!
//! A caller may be busy for long: its store is away, or slow. Meanwhile the member has to answer its
//! group, so the client is polled all the time, and fetching pauses when there is no more room.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use blocks::bus::TopicPartition;
use futures::{FutureExt, StreamExt};
use rdkafka::consumer::{Consumer, MessageStream, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client::{Ear, Settings};
use crate::holdings::{Holdings, Run, Start};
use crate::rebalance::{Change, Rebalances};
use crate::records::record;

/// Records taken from the library in one go.
const GULP: usize = 500;
/// Time that a full buffer just waits for its caller. A longer wait pauses fetching, which throws away the
/// records that the library holds ready.
const FULL_FOR: Duration = Duration::from_secs(1);
/// Pause between two checks of a revoked partition: the group may have stopped waiting for it.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Longest pause when nothing is due.
const SELDOM: Duration = Duration::from_mins(1);
/// The pause before another client, after one that could not go on.
const AFTER_A_LOSS: Duration = Duration::from_secs(1);

/// The task beside a member that polls its client.
pub(crate) struct Poller {
    pub(crate) holdings: Arc<Holdings>,
    pub(crate) settings: Settings,
    pub(crate) group: String,
    pub(crate) topics: Vec<String>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Poller {
    /// Polls until it is stopped, then leaves the group.
    pub(crate) async fn run(self) {
        while !self.stop.is_cancelled() {
            let ear = self.settings.ear();
            if let Err(error) = self.session(&ear).await {
                let what = format!("stay in the consumer group {}", self.group);
                self.holdings.lost(ear.unavailable(what, error));
                tokio::select! {
                    () = self.stop.cancelled() => {}
                    () = tokio::time::sleep(AFTER_A_LOSS) => {}
                }
            }
        }
    }

    /// One client, for as long as it can go on.
    async fn session(&self, ear: &Ear) -> KafkaResult<()> {
        let (sender, mut changes) = mpsc::unbounded_channel();
        let rebalances = Rebalances {
            ear: ear.clone(),
            changes: sender,
            is_closing: AtomicBool::new(false),
            without_broker: AtomicU32::new(0),
        };
        let client: StreamConsumer<Rebalances> = self
            .settings
            .member(&self.group)
            .create_with_context(rebalances)?;
        let topics: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        client.subscribe(&topics)?;
        let mut session = Session {
            poller: self,
            client: &client,
            ear,
            reading: BTreeMap::new(),
            held: None,
            full_since: None,
            is_paused: false,
        };
        let ended = session.run(&mut changes).await;
        let closed = session.close(&mut changes);
        // Leaving the group takes an answer of the broker.
        self.tasks.spawn_blocking(move || drop(client));
        ended.and(closed)
    }
}

/// A client at work.
struct Session<'a> {
    poller: &'a Poller,
    client: &'a StreamConsumer<Rebalances>,
    ear: &'a Ear,
    /// The partitions that the client reads.
    reading: BTreeMap<TopicPartition, Run>,
    /// Revoked partitions that the caller has in hand, and since when.
    held: Option<(Vec<TopicPartition>, Instant)>,
    full_since: Option<Instant>,
    is_paused: bool,
}

impl Session<'_> {
    async fn run(&mut self, changes: &mut mpsc::UnboundedReceiver<Change>) -> KafkaResult<()> {
        let (holdings, stop) = (&self.poller.holdings, &self.poller.stop);
        let client = self.client;
        let stream = client.stream();
        tokio::pin!(stream);
        loop {
            self.let_go_if_due()?;
            self.follow_plan()?;
            let polls = self.makes_room()?;
            let look_at = self.next_look();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some(change) = changes.recv() => self.follow(change)?,
                () = holdings.wake.notified() => {}
                () = tokio::time::sleep_until(look_at) => {}
                Some(first) = stream.next(), if polls => {
                    self.take_in(first, &mut stream, changes)?;
                }
            }
        }
    }

    /// Takes the records that the library has ready.
    fn take_in(
        &mut self,
        first: KafkaResult<BorrowedMessage<'_>>,
        stream: &mut MessageStream<'_, Rebalances>,
        changes: &mut mpsc::UnboundedReceiver<Change>,
    ) -> KafkaResult<()> {
        let mut records = Vec::new();
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Ok(message) => records.push(record(&message)),
                Err(error) => self.heard(error)?,
            }
            next = if records.len() < GULP {
                stream.next().now_or_never().flatten()
            } else {
                None
            };
        }
        // Changes that came with the records count before them.
        while let Ok(change) = changes.try_recv() {
            self.follow(change)?;
        }
        if !records.is_empty() {
            self.poller.holdings.fetched(records, &self.reading);
        }
        Ok(())
    }

    /// Handles an error that comes instead of a record. The library recovers from most by itself.
    fn heard(&self, error: KafkaError) -> KafkaResult<()> {
        let holdings = &self.poller.holdings;
        match error {
            KafkaError::MessageConsumptionFatal(_) => return Err(error),
            KafkaError::MessageConsumption(Code::AllBrokersDown) => holdings.unavailable(),
            KafkaError::MessageConsumption(
                Code::BrokerTransportFailure
                | Code::Resolve
                | Code::OperationTimedOut
                | Code::RequestTimedOut
                | Code::PollExceeded
                | Code::PartitionEOF
                | Code::LeaderNotAvailable
                | Code::NotLeaderForPartition
                | Code::NotCoordinator
                | Code::CoordinatorNotAvailable
                | Code::CoordinatorLoadInProgress
                | Code::RebalanceInProgress
                | Code::IllegalGeneration
                | Code::UnknownMemberId,
            ) => tracing::debug!(group = self.poller.group, %error, "the client goes on by itself"),
            error => {
                let what = format!("read as a member of {}", self.poller.group);
                holdings.failed(self.ear.unavailable(what, error));
            }
        }
        Ok(())
    }

    fn follow(&mut self, change: Change) -> KafkaResult<()> {
        match change {
            Change::Assigned(partitions) => {
                self.poller.holdings.assigned(partitions);
                Ok(())
            }
            Change::Revoked(partitions) => {
                self.poller.holdings.revoke(&partitions);
                self.held = Some((partitions, Instant::now()));
                self.let_go_if_due()
            }
            // Another client is told of the brokers anew.
            Change::Blind => Err(KafkaError::MessageConsumption(Code::AllBrokersDown)),
        }
    }

    /// Lets go of revoked partitions when the caller is done with them, or it is too late to wait.
    fn let_go_if_due(&mut self) -> KafkaResult<()> {
        let Some((partitions, since)) = &self.held else {
            return Ok(());
        };
        if self.poller.holdings.is_done_with(partitions)
            || self.client.assignment_lost()
            || since.elapsed() > self.poller.settings.hold
        {
            return self.let_go();
        }
        Ok(())
    }

    fn let_go(&mut self) -> KafkaResult<()> {
        let Some((partitions, _)) = self.held.take() else {
            return Ok(());
        };
        let read = partitions
            .into_iter()
            .filter(|partition| self.reading.remove(partition).is_some());
        self.client.incremental_unassign(&list(read))
    }

    /// Reads the partitions that should be read. Not while others wait for one: the library would take any
    /// change for the answer.
    fn follow_plan(&mut self) -> KafkaResult<()> {
        if self.held.is_some() {
            return Ok(());
        }
        let plan = self.poller.holdings.plan(&self.reading);
        if !plan.stop.is_empty() {
            for partition in &plan.stop {
                self.reading.remove(partition);
            }
            self.client.incremental_unassign(&list(plan.stop))?;
        }
        if !plan.start.is_empty() {
            let mut starts = TopicPartitionList::with_capacity(plan.start.len());
            for (partition, run, start) in plan.start {
                let offset = match start {
                    Start::At(offset) => Offset::Offset(offset),
                    Start::Oldest | Start::Unknown => Offset::Beginning,
                };
                starts.add_partition_offset(&partition.topic, partition.partition, offset)?;
                self.reading.insert(partition, run);
            }
            self.client.incremental_assign(&starts)?;
            // A partition that was paused before is still paused; so are those beside it.
            self.client.resume(&list(self.reading.keys().cloned()))?;
            self.is_paused = false;
        }
        self.commit(plan.commits);
        Ok(())
    }

    fn commit(&self, next: BTreeMap<TopicPartition, i64>) {
        if next.is_empty() {
            return;
        }
        let mut offsets = TopicPartitionList::with_capacity(next.len());
        let added = next.into_iter().try_for_each(|(partition, at)| {
            offsets.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(at))
        });
        let mode = rdkafka::consumer::CommitMode::Async;
        if let Err(error) = added.and_then(|()| self.client.commit(&offsets, mode)) {
            tracing::debug!(group = self.poller.group, %error, "offsets were not committed");
        }
    }

    /// True if it is time to poll. A buffer that stays full pauses the client, so that it can be polled
    /// without giving records.
    fn makes_room(&mut self) -> KafkaResult<bool> {
        if self.poller.holdings.has_room() {
            self.full_since = None;
            if self.is_paused {
                self.client.resume(&list(self.reading.keys().cloned()))?;
                self.is_paused = false;
            }
            return Ok(true);
        }
        let since = *self.full_since.get_or_insert_with(Instant::now);
        if !self.is_paused && since.elapsed() >= FULL_FOR {
            self.client.pause(&list(self.reading.keys().cloned()))?;
            self.is_paused = true;
        }
        Ok(self.is_paused)
    }

    /// The time of the next check that no signal announces.
    fn next_look(&self) -> Instant {
        let now = Instant::now();
        match (&self.held, self.full_since) {
            (Some(_), _) => now + LOOK_AGAIN,
            (None, Some(since)) if !self.is_paused => since + FULL_FOR,
            _ => now + SELDOM,
        }
    }

    /// Answers a revocation that the group waits for, and commits the caller's offsets a last time.
    fn close(&mut self, changes: &mut mpsc::UnboundedReceiver<Change>) -> KafkaResult<()> {
        self.client
            .context()
            .is_closing
            .store(true, Ordering::SeqCst);
        self.let_go()?;
        while let Ok(change) = changes.try_recv() {
            if let Change::Revoked(partitions) = change {
                self.held = Some((partitions, Instant::now()));
                self.let_go()?;
            }
        }
        self.commit(self.poller.holdings.plan(&self.reading).commits);
        Ok(())
    }
}

fn list(partitions: impl IntoIterator<Item = TopicPartition>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(&partition.topic, partition.partition);
    }
    list
}
