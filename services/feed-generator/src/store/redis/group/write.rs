//! How a batch is written: in parts, each by one script, the next one made ready while Redis does one.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use blocks::bus::{Record, TopicPartition};
use blocks::consumer::parked::read;
use blocks::consumer::{Applied, ApplyError};
use events::Malformed;
use sql::FaultPoint;

use super::batch::{Batch, ReadEvent};
use super::keys::{Key, Look, field};
use super::{ATTEMPTS, Answer, Group};

/// Records in one write: a script's time is everybody's.
const AT_ONCE: usize = 1000;

/// Writes a batch, so many records at a time and in their order, and answers what the projection tells.
/// What was written before a failure is passed over when the batch is given again.
pub(super) async fn write(group: &Group, records: &[Record]) -> Result<i64, ApplyError> {
    let mut told = 0;
    let mut parts = records.chunks(AT_ONCE);
    let mut ready = parts.next().map(|part| Part::read(group, part));
    let mut written = None;
    while let Some(mut part) = ready.take() {
        let next = parts
            .next()
            .map(|records| Part::made_ready(group, records, written.take()));
        let (applied, of_part, next) = part.write(group, next).await?;
        group.told_later(applied);
        told = told.max(of_part);
        ready = next;
        written = Some(part);
    }
    Ok(told)
}

/// Records that are written together.
struct Part<'a> {
    records: Vec<(&'a Record, Result<ReadEvent, Malformed>)>,
    partitions: BTreeSet<TopicPartition>,
    keys: HashSet<Key>,
    /// Taken behind the write before it.
    look: Option<Look>,
}

impl<'a> Part<'a> {
    /// All that can be done before it is known what was written.
    fn read(group: &Group, records: &'a [Record]) -> Self {
        let mut part = Self {
            records: Vec::with_capacity(records.len()),
            partitions: records.iter().map(Record::topic_partition).collect(),
            keys: HashSet::with_capacity(records.len()),
            look: None,
        };
        for record in records {
            let mut read = read(record).map(|event| ReadEvent::of(record, event));
            if let Ok(read) = &mut read {
                read.ask(group);
                part.keys.insert(read.key.clone());
            }
            part.records.push((record, read));
        }
        part
    }

    /// Writes them, looking again as long as others get in between. What is next is made ready meanwhile.
    async fn write(
        &mut self,
        group: &Group,
        mut next: Option<impl Future<Output = Self>>,
    ) -> Result<(Applied, i64, Option<Self>), ApplyError> {
        let away = ApplyError::Unavailable;
        let mut ready = None;
        group.link.fault(FaultPoint::BeforeWrite).map_err(away)?;
        for _ in 0..ATTEMPTS {
            let look = self.look(group).await?;
            let (checks, words) = look.begin(group);
            let mut batch = Batch {
                group,
                now: group.settings.clock.now(),
                keys: look.keys,
                words,
                applied: Applied::default(),
                filled: Vec::new(),
            };
            let next_offsets = self.decide(&mut batch, &look.offsets)?;
            // Before it is written: it may be although its answer is lost.
            group.goes_on_later(batch.filled);
            let script = group.run(&checks, batch.words);
            let answer = match next.take() {
                Some(next) => {
                    let (answer, part) = tokio::join!(script, next);
                    ready = Some(part);
                    answer
                }
                None => script.await,
            };
            if let Answer::Done(told) = answer.map_err(away)? {
                let mut believed = group.believed();
                // Where another member went on, this one now knows; where it wrote itself, too.
                believed.extend(look.offsets);
                believed.extend(next_offsets);
                return Ok((batch.applied, told, ready));
            }
        }
        Err(away("others write the same partitions all the time".into()))
    }

    /// Reads what comes next, and what must be known of it. That is asked on the same connection, so it
    /// is answered after the script before it; otherwise its write would find that something changed.
    async fn made_ready(group: &Group, records: &'a [Record], written: Option<Self>) -> Self {
        // What sends the script may be next on this very thread.
        tokio::task::yield_now().await;
        // Takes as long as to make it.
        drop(written);
        let mut part = Self::read(group, records);
        part.look = group.look(&part.partitions, &part.keys).await.ok();
        part
    }

    /// What is known now. What was looked up before counts unless it is behind this member's own writes.
    async fn look(&mut self, group: &Group) -> Result<Look, ApplyError> {
        if let Some(look) = self.look.take()
            && stands(group, &self.partitions, &look.offsets).is_ok()
        {
            return Ok(look);
        }
        let look = group.look(&self.partitions, &self.keys).await;
        look.map_err(ApplyError::Unavailable)
    }

    /// Says in `batch` what becomes of each record, and answers the next offset of each partition.
    fn decide(
        &mut self,
        batch: &mut Batch<'_>,
        offsets: &BTreeMap<TopicPartition, i64>,
    ) -> Result<BTreeMap<TopicPartition, i64>, ApplyError> {
        let mut stands = stands(batch.group, &self.partitions, offsets)?;
        for (record, read) in &mut self.records {
            let stand = stands.get_mut(&(record.topic.as_str(), record.partition));
            let Some(stand) = stand.filter(|stand| stand.is_before(record.offset)) else {
                batch.applied.skipped += 1;
                continue;
            };
            stand.next = Some(record.offset + 1);
            match read {
                Ok(read) => batch.event(record, read),
                Err(malformed) => batch.unreadable(record, malformed),
            }
            .map_err(ApplyError::Unavailable)?;
        }
        batch.store();
        let mut next_offsets = BTreeMap::new();
        for ((topic, partition), stand) in stands {
            if let Some(next) = stand.next {
                let topic = topic.to_owned();
                let of = TopicPartition { topic, partition };
                batch.words.say("offset").say(field(&of)).number(next);
                next_offsets.insert(of, next);
            }
        }
        Ok(next_offsets)
    }
}

/// Where a partition is while a part is decided on.
struct Stand {
    /// The next offset by the store.
    stored: i64,
    /// The next offset as this member knows it.
    here: Option<i64>,
    /// The next offset after the write.
    next: Option<i64>,
}

impl Stand {
    /// Whether the record there was not written before. What lies before a position that nobody else
    /// moved was asked for by the bus: its log begins anew (it was lost, or brought back from a copy), or
    /// a later part of the batch failed. Versions decide then.
    fn is_before(&self, offset: i64) -> bool {
        offset >= self.stored || self.here == Some(self.stored)
    }
}

type Stands<'a> = BTreeMap<(&'a str, i32), Stand>;

/// Where the partitions are.
///
/// # Errors
/// When one of them went back without this member.
fn stands<'a>(
    group: &Group,
    partitions: &'a BTreeSet<TopicPartition>,
    offsets: &BTreeMap<TopicPartition, i64>,
) -> Result<Stands<'a>, ApplyError> {
    let believed = group.believed();
    let mut stands = Stands::new();
    for of in partitions {
        let stand = Stand {
            stored: offsets.get(of).copied().unwrap_or_default(),
            here: believed.get(of).copied(),
            next: None,
        };
        if stand.here > Some(stand.stored) {
            return Err(ApplyError::Moved);
        }
        stands.insert((&of.topic, of.partition), stand);
    }
    Ok(stands)
}
