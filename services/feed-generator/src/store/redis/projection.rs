//! Turns events into changes of the streams in Redis.

use blocks::consumer::HandlerError;
use events::Envelope;

use super::args::Args;
use super::group::Effects;
use crate::domain::{Change, GLOBAL_LENGTH, USER_LENGTH};
use crate::render::Rendered;

/// Entries kept for each one shown: with twice as many, deletions seldom need the log.
pub(super) const KEPT: usize = 2;

/// The feed's commands: see `streams.lua` and `feed.lua`.
pub(super) struct FeedEffects;

/// A post's member in an index: it names the author, so that an author's posts can be found.
pub(super) fn member(post_id: uuid::Uuid, user_id: i64) -> String {
    format!("{post_id}:{user_id}")
}

impl Effects for FeedEffects {
    fn script(&self) -> String {
        format!(
            "local shown = {{ global = {GLOBAL_LENGTH}, user = {USER_LENGTH} }}\n\
             local kept = {{ global = {KEPT} * shown.global, user = {KEPT} * shown.user }}\n{}",
            concat!(include_str!("streams.lua"), "\n", include_str!("feed.lua"))
        )
    }

    fn effect(&self, event: &Envelope, args: &mut Args) -> Result<(), HandlerError> {
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

    /// Adds nothing: [`super::consumer::FeedGroup`] does so, since it knows the log's watermarks.
    fn forget(&self, _topics: &[String], _words: &mut Args) {}
}
