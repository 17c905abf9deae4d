//! The arguments of a write: the effects of events, and what was decided about them.

use std::collections::{BTreeMap, HashMap};

use blocks::bus::Record;
use blocks::consumer::{Applied, HandlerError, Key, Known, Plan, handling_now};
use blocks::error::BoxError;
use events::Envelope;

use super::Group;
use crate::store::redis::args::Args;
use crate::store::redis::outbox;

/// The arguments of an event's effect, or the reason for a refusal. The outer error means that a dependency
/// is away.
pub(super) type Effect = Result<Result<Args, HandlerError>, BoxError>;

/// Computes the effect of `event`. A panic is a refusal.
pub(super) fn effect(group: &Group, record: &Record, event: &Envelope) -> Effect {
    let mut args = Args::default();
    let effect = || group.effects.effect(event, &mut args);
    match handling_now(group.member.group, record, event, effect) {
        Ok(()) => Ok(Ok(args)),
        Err(HandlerError::Unavailable(cause)) => Err(cause),
        Err(error) => Ok(Err(error)),
    }
}

/// What remains of a plan besides its arguments.
pub(super) struct Decided {
    pub applied: Applied,
    /// Keys whose missing version came.
    pub filled: Vec<Key>,
    /// The keys' states after the write.
    pub keys: HashMap<Key, Known>,
}

/// Adds the arguments for what was decided.
pub(super) fn add(group: &Group, plan: Plan<'_>, args: &mut Args) -> Result<Decided, BoxError> {
    for row in plan.rows {
        args.push("park").push(row.key.to_string());
        args.number(row.version)
            .push(row.record.unwrap_or_default());
    }
    for (key, version) in plan.unparked {
        args.push("unpark").push(key.to_string()).number(version);
    }
    for key in plan.blocks {
        match &plan.keys[&key].block {
            Some(block) => args
                .push("block")
                .push(key.to_string())
                .push(serde_json::to_string(block)?),
            None => args.push("unblock").push(key.to_string()),
        };
    }
    for (_, dead_letter) in plan.dead_letters {
        let now = group.settings.clock.now();
        args.push("letter").push(outbox::text(&dead_letter, now)?);
    }
    let mut by_topic: BTreeMap<&str, Vec<(&str, i64)>> = BTreeMap::new();
    for (key, known) in plan.keys.iter().filter(|(_, known)| known.moved) {
        let moved = by_topic.entry(&key.topic).or_default();
        moved.extend(known.version.map(|version| (&*key.key, version)));
    }
    for (topic, moved) in by_topic {
        args.push("versions").push(topic);
        args.push((2 * moved.len()).to_string());
        for (key, version) in moved {
            args.push(key).number(version);
        }
    }
    Ok(Decided {
        applied: plan.applied,
        filled: plan.filled,
        keys: plan.keys,
    })
}
