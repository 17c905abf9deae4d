//! Turns events into changes of the streams in Redis: see `streams.lua` and `feed.lua`.

use blocks::consumer::HandlerError;
use blocks::error::BoxError;
use blocks::{Clock, context};
use events::Envelope;
use events::users::UserErased;

use super::args::Args;
use super::outbox::{COUNTED, around};
use crate::NAME;
use crate::domain::{Change, GLOBAL_LENGTH, USER_LENGTH};
use crate::render::Rendered;

/// Entries kept for each one shown: with twice as many, deletions seldom need the log.
pub(super) const KEPT: usize = 2;

/// A post's member in an index: it names the author, so that an author's posts can be found.
pub(super) fn member(post_id: uuid::Uuid, user_id: i64) -> String {
    format!("{post_id}:{user_id}")
}

/// The feed's commands, for the script of its group.
pub(super) fn script() -> String {
    format!(
        "local shown = {{ global = {GLOBAL_LENGTH}, user = {USER_LENGTH} }}\n\
         local kept = {{ global = {KEPT} * shown.global, user = {KEPT} * shown.user }}\n{}",
        concat!(include_str!("streams.lua"), "\n", include_str!("feed.lua"))
    )
}

/// Adds the commands for the effect of `event`.
pub(super) fn effect(
    event: &Envelope,
    clock: &dyn Clock,
    args: &mut Args,
) -> Result<(), HandlerError> {
    match Change::of(event)? {
        None => {}
        Some(Change::Put(entry)) => {
            let (post, user) = (entry.post_id, entry.user_id);
            args.push("put").push(member(post, user)).number(user);
            args.number(entry.place().ms);
            args.number(event.time.timestamp_millis());
            args.number(event.sequence);
            args.push(Rendered::of(&entry).text());
        }
        Some(Change::Remove { post_id, user_id }) => {
            args.push("remove")
                .push(member(post_id, user_id))
                .number(user_id);
        }
        Some(Change::Name { user_id, username }) => {
            args.push("name").number(user_id).push(username);
            args.push(event.id.to_string());
        }
        Some(Change::Forget(user_id)) => {
            let [before, after] = answer(user_id, clock).map_err(HandlerError::Rejected)?;
            args.push("close")
                .number(user_id)
                .push(event.id.to_string());
            args.push(before).push(after);
        }
    }
    Ok(())
}

/// The answer that nothing is left of an account, around the number of its records.
fn answer(user_id: i64, clock: &dyn Clock) -> Result<[String; 2], BoxError> {
    let answer = UserErased {
        user_id,
        service: NAME.to_owned(),
        records: COUNTED,
    };
    let now = clock.now();
    let envelope = Envelope::new(clock.id(), NAME, now, 1, context::for_events(), &answer)?;
    around(&envelope.message(), now)
}
