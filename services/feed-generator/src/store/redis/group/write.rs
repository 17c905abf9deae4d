//! How a batch is written: in parts, each by one script. While Redis does one, the next is decided as if that
//! were done, and sent: Redis never waits for this member, and the script finds out whether it was decided
//! for what came.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use blocks::bus::{Record, TopicPartition, partitions_of};
use blocks::consumer::parked::read;
use blocks::consumer::{Applied, ApplyError};
use blocks::error::BoxError;
use events::Malformed;
use futures::FutureExt;
use futures::future::BoxFuture;
use sql::FaultPoint;
use uuid::Uuid;

use super::batch::{Batch, ReadEvent};
use super::keys::{Key, Look, field};
use super::{ATTEMPTS, Answer, Group, Offsets};
use crate::store::redis::words::Words;

/// Records in one write: a script's time is everybody's.
const AT_ONCE: usize = 1000;
/// Records in the first write of a batch, and half of those in the second: Redis has nothing to do until
/// they are there.
const AT_FIRST: usize = 250;

/// Writes a batch, so many records at a time and in their order, and answers what the projection tells and
/// where this member leaves the partitions. Only when nothing failed that belongs to the batch does it
/// believe them to be there: given again, what was written lies before the store's position, and is passed
/// over.
pub(super) async fn write(group: &Group, records: &[Record]) -> Result<(i64, Offsets), ApplyError> {
    let mut told = 0;
    let mut parts = chunks(records).map(|records| Part::read(group, records));
    let (mut now, mut next) = (parts.next(), parts.next());
    let mut here = group.believed.lock().clone();
    // What was known of `now` when the part before it was sent.
    let mut look = None;
    let mut before: Option<Sent<'_>> = None;
    while let Some(mut part) = now {
        let fault = group.link.fault(FaultPoint::BeforeWrite);
        fault.map_err(ApplyError::Unavailable)?;
        let ahead = match (&before, look.take()) {
            // What goes wrong here is said when it is decided anew, by what is there then.
            (Some(before), Some(look)) => part.decide_after(group, before, look, &here).ok(),
            _ => None,
        };
        let draft = if let Some(draft) = ahead {
            draft
        } else {
            if let Some(before) = before.take() {
                told = told.max(before.settle(group, &mut here).await?.told);
            }
            part.decide_now(group, &here).await?
        };
        // On the same connection: answered before the script behind it is run.
        let asked = match &next {
            Some(next) => Some(Begun::of(next.look(group).boxed()).await),
            None => None,
        };
        let sent = part.send(group, draft).await;
        let after_next = parts.next();
        let mut is_good = true;
        let mut known = None;
        if let Some(before) = before.take() {
            let settled = before.settle(group, &mut here).await?;
            told = told.max(settled.told);
            is_good = settled.after.is_some();
            known = settled.after;
        }
        if let (Some(asked), true) = (asked, is_good) {
            // One that was not answered is asked again, and fails then if it must.
            let asked = asked.end().await.ok();
            look = asked.filter(|look| known.is_none_or(|known| look.is_since(&known)));
        }
        before = Some(sent);
        (now, next) = (next, after_next);
    }
    if let Some(last) = before {
        told = told.max(last.settle(group, &mut here).await?.told);
    }
    Ok((told, here))
}

fn chunks(mut records: &[Record]) -> impl Iterator<Item = &[Record]> {
    let mut size = AT_FIRST;
    std::iter::from_fn(move || {
        let (chunk, rest) = records.split_at(size.min(records.len()));
        records = rest;
        size = AT_ONCE.min(2 * size);
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// What was begun: what it asks is on its way, whenever its answer is wanted.
enum Begun<'a, T> {
    Asked(BoxFuture<'a, T>),
    Answered(T),
}

impl<'a, T> Begun<'a, T> {
    async fn of(mut future: BoxFuture<'a, T>) -> Self {
        match futures::poll!(&mut future) {
            std::task::Poll::Ready(answer) => Self::Answered(answer),
            std::task::Poll::Pending => Self::Asked(future),
        }
    }

    async fn end(self) -> T {
        match self {
            Self::Asked(future) => future.await,
            Self::Answered(answer) => answer,
        }
    }
}

/// What is to be written of a part.
struct Draft {
    id: Uuid,
    checks: Vec<[String; 3]>,
    words: Words,
    applied: Applied,
    /// Keys whose missing version came.
    filled: Vec<Key>,
    moves: Offsets,
    /// What is known when it is written.
    after: Look,
}

/// A part whose script is on its way.
struct Sent<'a> {
    part: Part<'a>,
    answer: Begun<'a, Result<Answer, BoxError>>,
    applied: Applied,
    /// Where it leaves the partitions that it moves.
    moves: Offsets,
    after: Look,
}

/// What became of a part.
struct Settled {
    /// What the projection told.
    told: i64,
    /// What is known since, if it was written as it was decided first.
    after: Option<Look>,
}

impl Sent<'_> {
    /// Waits for the answer, after which partitions are where it left them `here`. When others got in
    /// between, the part is decided and sent anew.
    async fn settle(self, group: &Group, here: &mut Offsets) -> Result<Settled, ApplyError> {
        let mut sent = self;
        for attempt in 0..ATTEMPTS {
            let answer = sent.answer.end().await.map_err(ApplyError::Unavailable)?;
            if let Answer::Done(told) = answer {
                group.told_later(sent.applied);
                here.extend(sent.moves);
                let after = (attempt == 0).then_some(sent.after);
                return Ok(Settled { told, after });
            }
            let draft = sent.part.decide_now(group, here).await?;
            sent = sent.part.send(group, draft).await;
        }
        let busy = "others write the same partitions all the time";
        Err(ApplyError::Unavailable(busy.into()))
    }
}

/// Records that are written together.
struct Part<'a> {
    records: Vec<(&'a Record, Result<ReadEvent, Malformed>)>,
    partitions: BTreeSet<TopicPartition>,
    keys: HashSet<Key>,
}

impl<'a> Part<'a> {
    /// All that can be done before it is known what was written.
    fn read(group: &Group, records: &'a [Record]) -> Self {
        let mut part = Self {
            records: Vec::with_capacity(records.len()),
            partitions: partitions_of(records),
            keys: HashSet::with_capacity(records.len()),
        };
        for record in records {
            let mut read = read(record).map(|event| ReadEvent::of(record, event));
            if let Ok(read) = &mut read {
                read.ask(group, record);
                part.keys.insert(read.key.clone());
            }
            part.records.push((record, read));
        }
        part
    }

    async fn look(&self, group: &Group) -> Result<Look, ApplyError> {
        let look = group.look(&self.partitions, &self.keys).await;
        look.map_err(ApplyError::Unavailable)
    }

    /// Sends what is to be written.
    async fn send<'g>(self, group: &'g Group, draft: Draft) -> Sent<'g>
    where
        'a: 'g,
    {
        let Draft {
            id, checks, words, ..
        } = draft;
        // Before it is written: it may be although its answer is lost.
        group.goes_on_later(draft.filled);
        let script = async move { group.run_as(id, &checks, words).await };
        Sent {
            part: self,
            answer: Begun::of(script.boxed()).await,
            applied: draft.applied,
            moves: draft.moves,
            after: draft.after,
        }
    }

    /// Decides what is to be written by what is there now.
    async fn decide_now(&mut self, group: &Group, here: &Offsets) -> Result<Draft, ApplyError> {
        let look = self.look(group).await?;
        self.decide(group, look, here)
    }

    /// Decides what is to be written once what was sent `before` is done. `look` was taken earlier.
    fn decide_after(
        &mut self,
        group: &Group,
        before: &Sent<'_>,
        mut look: Look,
        here: &Offsets,
    ) -> Result<Draft, ApplyError> {
        look.overwrite(&before.after);
        let mut here = here.clone();
        here.extend(before.moves.clone());
        self.decide(group, look, &here)
    }

    /// Decides what becomes of each record where all is as `look` says, and this member left partitions
    /// `here`, or knew them to be before the batch.
    fn decide(
        &mut self,
        group: &Group,
        mut look: Look,
        here: &Offsets,
    ) -> Result<Draft, ApplyError> {
        let mut stands = stands(&self.partitions, &look.offsets, here)?;
        let (checks, words) = look.begin(group);
        let mut batch = Batch {
            group,
            now: group.settings.clock.now(),
            keys: std::mem::take(&mut look.keys),
            words,
            applied: Applied::default(),
            filled: Vec::new(),
        };
        for (record, read) in &mut self.records {
            let stand = stands.get_mut(&(record.topic.as_str(), record.partition));
            let Some(stand) = stand.filter(|stand| stand.is_new(record.offset)) else {
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
        let mut moves = Offsets::new();
        for ((topic, partition), stand) in stands {
            if let Some(next) = stand.next {
                let topic = topic.to_owned();
                let of = TopicPartition { topic, partition };
                batch.words.say("offset").say(field(&of)).number(next);
                moves.insert(of, next);
            }
        }
        let mut offsets = std::mem::take(&mut look.offsets);
        offsets.extend(moves.clone());
        let id = group.settings.clock.id();
        Ok(Draft {
            id,
            checks,
            words: batch.words,
            applied: batch.applied,
            filled: batch.filled,
            moves,
            after: look.after(id, offsets, batch.keys),
        })
    }
}

/// Where a partition is while a part is decided on.
struct Stand {
    /// The next offset by the store.
    stored: i64,
    /// The next offset as this member left it, or knew it before the batch.
    here: Option<i64>,
    /// The next offset after the write.
    next: Option<i64>,
}

impl Stand {
    /// Whether the record there was not written before. What lies before the position where this member
    /// began or left off was asked for by the bus: its log begins anew (it was lost, or brought back from a
    /// copy). Versions decide then.
    fn is_new(&self, offset: i64) -> bool {
        offset >= self.stored || self.here == Some(self.stored)
    }
}

type Stands<'a> = BTreeMap<(&'a str, i32), Stand>;

/// Where the partitions are.
///
/// # Errors
/// When one of them went back without this member.
fn stands<'a>(
    partitions: &'a BTreeSet<TopicPartition>,
    offsets: &Offsets,
    here: &Offsets,
) -> Result<Stands<'a>, ApplyError> {
    let mut stands = Stands::new();
    for of in partitions {
        let stand = Stand {
            stored: offsets.get(of).copied().unwrap_or_default(),
            here: here.get(of).copied(),
            next: None,
        };
        if stand.here > Some(stand.stored) {
            return Err(ApplyError::Moved);
        }
        stands.insert((&of.topic, of.partition), stand);
    }
    Ok(stands)
}
