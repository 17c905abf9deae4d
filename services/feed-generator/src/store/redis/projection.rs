//! Turns events into changes of the streams in Redis: see `streams.lua` and `feed.lua`.

use blocks::consumer::HandlerError;
use events::Envelope;

use super::args::Args;
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
pub(super) fn effect(event: &Envelope, args: &mut Args) -> Result<(), HandlerError> {
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
            args.push("close")
                .number(user_id)
                .push(event.id.to_string());
        }
    }
    Ok(())
}
