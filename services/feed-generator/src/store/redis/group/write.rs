//! Writes a batch in parts, each by one script. While Redis runs one, the next is decided as if that were
//! done, and sent. So Redis never waits for this member, and each script checks the state its part was
//! decided for.

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
use crate::store::redis::args::Args;

/// Records in one write: while a script runs, everybody waits.
const AT_ONCE: usize = 1000;
/// Records in the first write of a batch; the second has twice as many. It is small because Redis is
/// idle until it comes.
const AT_FIRST: usize = 250;

/// Writes a batch in order, part by part. Returns the projection's answer and the partitions' next
/// offsets. The group takes over these offsets only when the whole batch succeeded. Given again after a
/// failure, written records lie before the store's offset and are skipped.
pub(super) async fn write(group: &Group, records: &[Record]) -> Result<(i64, Offsets), ApplyError> {
    let mut told = 0;
    let mut parts = chunks(records).map(|records| Part::read(group, records));
    let (mut now, mut next) = (parts.next(), parts.next());
    let mut here = group.believed.lock().clone();
    // The state for `now`, read before the previous part was run.
    let mut look = None;
    let mut before: Option<Sent<'_>> = None;
    while let Some(mut part) = now {
        let fault = group.link.fault(FaultPoint::BeforeWrite);
        fault.map_err(ApplyError::Unavailable)?;
        let ahead = match (&before, look.take()) {
            // An error here is dropped: the part is then decided anew by the state that is there.
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
        // On the same connection, so Redis answers it before it runs the script behind it.
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
            // A query without an answer is repeated, and may fail then.
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

/// A future that was polled once: its request is on the wire, whenever the answer is awaited.
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

/// A part as decided, not yet sent.
struct Draft {
    id: Uuid,
    checks: Vec<[String; 3]>,
    args: Args,
    applied: Applied,
    /// Keys whose missing version came.
    filled: Vec<Key>,
    moves: Offsets,
    /// The state after this write.
    after: Look,
}

/// A part whose script is on its way.
struct Sent<'a> {
    part: Part<'a>,
    answer: Begun<'a, Result<Answer, BoxError>>,
    applied: Applied,
    /// The next offsets of the partitions that it moves.
    moves: Offsets,
    after: Look,
}

/// The outcome of a part.
struct Settled {
    /// The projection's answer.
    told: i64,
    /// The state after the write, if the part was written as first decided.
    after: Option<Look>,
}

impl Sent<'_> {
    /// Waits for the answer, and enters the new offsets in `here`. If other members wrote in between,
    /// the part is decided and sent anew.
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
    /// Parses `records` and computes their effects: this needs no state of the store.
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

    /// Sends a decided part.
    async fn send<'g>(self, group: &'g Group, draft: Draft) -> Sent<'g>
    where
        'a: 'g,
    {
        let Draft {
            id, checks, args, ..
        } = draft;
        // Noted before the write, which may be done although its answer is lost.
        group.goes_on_later(draft.filled);
        let script = async move { group.run_as(id, &checks, args).await };
        Sent {
            part: self,
            answer: Begun::of(script.boxed()).await,
            applied: draft.applied,
            moves: draft.moves,
            after: draft.after,
        }
    }

    /// Reads the current state and decides by it.
    async fn decide_now(&mut self, group: &Group, here: &Offsets) -> Result<Draft, ApplyError> {
        let look = self.look(group).await?;
        self.decide(group, look, here)
    }

    /// Decides as if the part `before` were written. `look` is the state read before that part was
    /// sent.
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

    /// Decides each record by the state `look`. `here` holds the next offsets as this member left them,
    /// or knew them before the batch.
    fn decide(
        &mut self,
        group: &Group,
        mut look: Look,
        here: &Offsets,
    ) -> Result<Draft, ApplyError> {
        let mut stands = stands(&self.partitions, &look.offsets, here)?;
        let (checks, args) = look.begin(group);
        let mut batch = Batch {
            group,
            now: group.settings.clock.now(),
            keys: std::mem::take(&mut look.keys),
            args,
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
                batch.args.push("offset").push(field(&of)).number(next);
                moves.insert(of, next);
            }
        }
        let mut offsets = std::mem::take(&mut look.offsets);
        offsets.extend(moves.clone());
        let id = group.settings.clock.id();
        Ok(Draft {
            id,
            checks,
            args: batch.args,
            applied: batch.applied,
            filled: batch.filled,
            moves,
            after: look.after(id, offsets, batch.keys),
        })
    }
}

/// A partition's offsets while a part is decided.
struct Stand {
    /// The next offset in the store.
    stored: i64,
    /// The next offset as this member left it, or knew it before the batch.
    here: Option<i64>,
    /// The next offset after the write.
    next: Option<i64>,
}

impl Stand {
    /// True if the record at `offset` was not written before. The bus may hand over records before this
    /// member's own offset, when its log was lost or restored from a copy. These count as new, and their
    /// versions decide.
    fn is_new(&self, offset: i64) -> bool {
        offset >= self.stored || self.here == Some(self.stored)
    }
}

type Stands<'a> = BTreeMap<(&'a str, i32), Stand>;

/// The offsets of all partitions of a part.
///
/// # Errors
/// When the store's offset of one went back behind this member's.
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
