//! The one write of a batch.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use blocks::bus::{Record, partitions_of};
use blocks::consumer::{Applied, ApplyError, HandlerError, Plan, Stands, handling};
use events::Envelope;
use futures::FutureExt;

use super::{BatchError, Shared, inbox, keys, positions};
use crate::error::StoreError;
use crate::tx::Tx;

/// Writes a batch. When `apart`, each event has a savepoint of its own: a refused one is parked and the
/// others stay. Otherwise the first refusal undoes the batch, which is quicker as long as none is refused.
pub(super) async fn write(
    shared: &Arc<Shared>,
    records: Arc<[Record]>,
    apart: bool,
) -> Result<Applied, BatchError> {
    let of_write = Arc::clone(shared);
    shared
        .db
        .write(move |tx| Box::pin(async move { run(tx, &of_write, &records, apart).await }))
        .await
}

async fn run(
    tx: &mut Tx,
    shared: &Arc<Shared>,
    records: &[Record],
    apart: bool,
) -> Result<Applied, BatchError> {
    let stored = positions::stored(tx, shared, records).await?;
    let partitions = partitions_of(records);
    let mut stands = Stands::of(&partitions, &stored, &shared.member.offsets())?;
    let fresh = stands.fresh(records);
    let keys = keys::load(tx, shared, fresh.iter().map(|(_, key, _)| key)).await?;
    let mut plan = Plan::new(&shared.member, tx.now(), keys);
    plan.applied.skipped += (records.len() - fresh.len()) as u64;
    let mut together = Vec::new();
    for (record, key, event) in &fresh {
        match event {
            Err(malformed) => plan.unreadable(record, malformed),
            Ok(event) if !plan.event(key, record, event) => {}
            Ok(event) if apart => {
                let done = apply(tx, shared, record, event).await?;
                plan.done(key, record, event, done);
            }
            Ok(event) => {
                together.push((*record, event));
                plan.done(key, record, event, Ok(()));
            }
        }
    }
    apply_all(tx, shared, &together).await?;
    let applied = store(tx, shared, plan).await?;
    positions::store(tx, shared, stands.moves(), stored).await?;
    Ok(applied)
}

/// Stores what was decided.
pub(super) async fn store(
    tx: &mut Tx,
    shared: &Shared,
    plan: Plan<'_>,
) -> Result<Applied, StoreError> {
    keys::store(tx, shared, &plan.keys).await?;
    inbox::store(tx, shared, &plan.rows).await?;
    for (key, version) in &plan.unparked {
        inbox::processed(tx, shared, key, *version).await?;
    }
    for key in &plan.blocks {
        match &plan.keys[key].block {
            Some(block) => keys::block(tx, shared, key, block).await?,
            None => keys::unblock(tx, shared, key).await?,
        }
    }
    for (event_type, dead_letter) in plan.dead_letters {
        let id = tx.id();
        tx.enqueue(id, &event_type, 0, dead_letter);
    }
    shared.member.fills(plan.filled);
    Ok(plan.applied)
}

/// Lets the handler write the effects of events that none of them is expected to refuse.
async fn apply_all(
    tx: &mut Tx,
    shared: &Shared,
    together: &[(&Record, &Envelope)],
) -> Result<(), BatchError> {
    if together.is_empty() {
        return Ok(());
    }
    let handler = &shared.handler;
    let events: Vec<&Envelope> = together.iter().map(|(_, event)| *event).collect();
    let work = async {
        if !handler.handle_all(tx, &events).await? {
            for (record, event) in together {
                let effect = handler.handle(tx, event);
                handling(shared.member.group, record, event, effect).await?;
            }
        }
        Ok(())
    };
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(HandlerError::Unavailable(cause))) => Err(ApplyError::Unavailable(cause).into()),
        Ok(Err(_)) | Err(_) => Err(BatchError::Refused),
    }
}

/// Lets the handler write an effect. The inner error is its refusal; nothing of its effect is left then.
pub(super) async fn apply(
    tx: &mut Tx,
    shared: &Shared,
    record: &Record,
    event: &Envelope,
) -> Result<Result<(), HandlerError>, BatchError> {
    let savepoint = tx.savepoint().await?;
    let effect = shared.handler.handle(tx, event);
    let done = handling(shared.member.group, record, event, effect).await;
    match &done {
        Ok(()) => tx.keep(savepoint).await?,
        Err(HandlerError::Unavailable(_)) => {}
        Err(_) => tx.undo(savepoint).await?,
    }
    match done {
        Err(HandlerError::Unavailable(cause)) => Err(ApplyError::Unavailable(cause).into()),
        done => Ok(done),
    }
}
