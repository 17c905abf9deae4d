//! Writes a batch in parts, each by one script. While Redis runs one, the next is decided as if that were
//! done, and sent (ADR 27). So Redis never waits for this member, and each script checks the state its part
//! was decided for.

use std::collections::{BTreeSet, HashSet};

use blocks::bus::{Record, TopicPartition, partitions_of};
use blocks::consumer::parked::read;
use blocks::consumer::{Applied, ApplyError, Key, Offsets, Plan, Stands};
use blocks::error::BoxError;
use events::{Envelope, Malformed};
use futures::FutureExt;
use futures::future::BoxFuture;
use sql::FaultPoint;
use uuid::Uuid;

use super::batch::{Effect, add, effect};
use super::keys::{Snapshot, field};
use super::{ATTEMPTS, BUSY, Group};
use crate::store::redis::args::Args;

/// Records in one write: while a script runs, everybody waits.
const AT_ONCE: usize = 1000;
/// Records in the first write of a batch; the second has twice as many. It is small because Redis is
/// idle until it comes.
const AT_FIRST: usize = 250;

/// Writes a batch in order, part by part. Returns the partitions' next offsets. The group takes over these
/// offsets only when the whole batch succeeded. Given again after a failure, written records lie before the
/// store's offset and are skipped.
pub(super) async fn write(group: &Group, records: &[Record]) -> Result<Offsets, ApplyError> {
    let mut parts = chunks(records).map(|records| Part::read(group, records));
    let (mut now, mut next) = (parts.next(), parts.next());
    let mut here = group.member.offsets();
    // The state for `now`, read before the previous part was run.
    let mut snapshot = None;
    let mut before: Option<Sent<'_>> = None;
    while let Some(mut part) = now {
        let fault = group.link.fault(FaultPoint::BeforeWrite);
        fault.map_err(ApplyError::Unavailable)?;
        let ahead = match (&before, snapshot.take()) {
            // An error here is dropped: the part is then decided anew by the state that is there.
            (Some(before), Some(snapshot)) => {
                part.decide_after(group, before, snapshot, &here).ok()
            }
            _ => None,
        };
        let draft = if let Some(draft) = ahead {
            draft
        } else {
            if let Some(before) = before.take() {
                before.settle(group, &mut here).await?;
            }
            part.decide_now(group, &here).await?
        };
        // On the same connection, so Redis answers it before it runs the script behind it.
        let asked = match &next {
            Some(next) => Some(Begun::of(next.snapshot(group).boxed()).await),
            None => None,
        };
        let sent = part.send(group, draft).await;
        let after_next = parts.next();
        let mut is_good = true;
        let mut known = None;
        if let Some(before) = before.take() {
            known = before.settle(group, &mut here).await?;
            is_good = known.is_some();
        }
        if let (Some(asked), true) = (asked, is_good) {
            // A query without an answer is repeated, and may fail then.
            let asked = asked.end().await.ok();
            snapshot = asked.filter(|snapshot| known.is_none_or(|known| snapshot.is_since(&known)));
        }
        before = Some(sent);
        (now, next) = (next, after_next);
    }
    if let Some(last) = before {
        last.settle(group, &mut here).await?;
    }
    Ok(here)
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
    after: Snapshot,
}

/// A part whose script is on its way.
struct Sent<'a> {
    part: Part<'a>,
    answer: Begun<'a, Result<bool, BoxError>>,
    applied: Applied,
    /// The next offsets of the partitions that it moves.
    moves: Offsets,
    after: Snapshot,
}

impl Sent<'_> {
    /// Waits for the answer, and enters the new offsets in `here`. If other members wrote in between, the
    /// part is decided and sent anew. Returns the state after the write, if that was as first decided.
    async fn settle(
        self,
        group: &Group,
        here: &mut Offsets,
    ) -> Result<Option<Snapshot>, ApplyError> {
        let mut sent = self;
        for attempt in 0..ATTEMPTS {
            if sent.answer.end().await.map_err(ApplyError::Unavailable)? {
                group.member.note(sent.applied);
                here.extend(sent.moves);
                return Ok((attempt == 0).then_some(sent.after));
            }
            let draft = sent.part.decide_now(group, here).await?;
            sent = sent.part.send(group, draft).await;
        }
        Err(ApplyError::Unavailable(BUSY.into()))
    }
}

/// An event that was read, and its effect, computed before it is known whether it will be used. The first
/// write that is tried takes it.
struct Computed {
    event: Envelope,
    effect: Option<Effect>,
}

/// Records that are written together.
struct Part<'a> {
    records: Vec<(&'a Record, Key, Result<Computed, Malformed>)>,
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
            let read = read(record);
            let key = Key::of(record, read.as_ref());
            part.keys.insert(key.clone());
            let read = read.map(|event| Computed {
                effect: Some(effect(group, record, &event)),
                event,
            });
            part.records.push((record, key, read));
        }
        part
    }

    async fn snapshot(&self, group: &Group) -> Result<Snapshot, ApplyError> {
        let snapshot = group.snapshot(&self.partitions, &self.keys).await;
        snapshot.map_err(ApplyError::Unavailable)
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
        group.member.fills(draft.filled);
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
        let snapshot = self.snapshot(group).await?;
        self.decide(group, snapshot, here)
    }

    /// Decides as if the part `before` were written. `look` is the state read before that part was
    /// sent.
    fn decide_after(
        &mut self,
        group: &Group,
        before: &Sent<'_>,
        mut snapshot: Snapshot,
        here: &Offsets,
    ) -> Result<Draft, ApplyError> {
        snapshot.overwrite(&before.after);
        let mut here = here.clone();
        here.extend(before.moves.clone());
        self.decide(group, snapshot, &here)
    }

    /// Decides each record by the state `look`. `here` holds the next offsets as this member left them,
    /// or knew them before the batch.
    fn decide(
        &mut self,
        group: &Group,
        mut snapshot: Snapshot,
        here: &Offsets,
    ) -> Result<Draft, ApplyError> {
        let mut stands = Stands::of(&self.partitions, &snapshot.offsets, here)?;
        let (checks, mut args) = snapshot.begin(group);
        let now = group.settings.clock.now();
        let mut plan = Plan::new(&group.member, now, std::mem::take(&mut snapshot.keys));
        for (record, key, read) in &mut self.records {
            if !stands.take(record) {
                plan.applied.skipped += 1;
                continue;
            }
            match read {
                Err(malformed) => plan.unreadable(record, malformed),
                Ok(read) if plan.event(key, record, &read.event) => {
                    let done = read.effect.take();
                    let done = done.unwrap_or_else(|| effect(group, record, &read.event));
                    let done = done.map_err(ApplyError::Unavailable)?;
                    let done = done.map(|more| args.append(more));
                    plan.done(key, record, &read.event, done);
                }
                Ok(_) => {}
            }
        }
        let decided = add(group, plan, &mut args).map_err(ApplyError::Unavailable)?;
        let moves = stands.moves();
        for (of, next) in &moves {
            args.push("offset").push(field(of)).number(*next);
        }
        let mut offsets = std::mem::take(&mut snapshot.offsets);
        offsets.extend(moves.clone());
        let id = group.settings.clock.id();
        Ok(Draft {
            id,
            checks,
            args,
            applied: decided.applied,
            filled: decided.filled,
            moves,
            after: snapshot.after(id, offsets, decided.keys),
        })
    }
}
