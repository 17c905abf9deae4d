//! The feed's group in Redis. It also ends a rebuild that is through, and begins one when a stream has
//! become too short.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use blocks::backoff::Reminder;
use blocks::bus::EventBus;
use blocks::consumer::{Consumer, ConsumerStore, HandlerError, lag};
use blocks::error::{BoxError, chain};
use blocks::service::Background;
use events::{Envelope, topic};
use redis::{Pipeline, Script};
use sql::FaultPoint;
use tokio_util::sync::CancellationToken;

use super::args::Args;
use super::group::{Effects, Group, GroupSettings};
use super::{RedisFeed, projection};
use crate::consumer::{GROUP, TOPICS};
use crate::domain::{GLOBAL_LENGTH, USER_LENGTH};
use crate::rebuild::Targets;
use crate::store::FeedStore;

/// Interval at which a member polls whether the store is still the one it knows.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Answer of the feed's script to a write during a rebuild.
const REBUILDING: i64 = 1;
/// The greatest lag, in records, with which a group counts as caught up.
const CAUGHT_UP: i64 = 1000;

/// The feed's part in the writes of its group.
pub(super) struct FeedEffects {
    feed: RedisFeed,
    bus: Arc<dyn EventBus>,
    finish: Script,
}

impl RedisFeed {
    /// The store of the group that follows the topics of `bus`.
    pub(super) fn group(&self, bus: Arc<dyn EventBus>) -> (Arc<Group>, Arc<FeedEffects>) {
        let settings = GroupSettings {
            group: GROUP,
            topics: TOPICS.to_vec(),
            prefix: self.group_key(""),
            projection: self.key(""),
            clock: Arc::clone(&self.inner.settings.clock),
        };
        let effects = Arc::new(FeedEffects {
            feed: self.clone(),
            bus,
            finish: Script::new(include_str!("finish.lua")),
        });
        let group = Group::new(
            Arc::clone(&self.inner.link),
            settings,
            Arc::clone(&effects) as _,
        );
        (Arc::new(group), effects)
    }

    /// The consumer that follows the topics of `bus`, and what watches over it.
    pub(crate) fn consumer(&self, bus: Arc<dyn EventBus>) -> (Consumer, Watch) {
        let (group, effects) = self.group(bus);
        let consumer = Consumer::new(GROUP, TOPICS, Arc::clone(&group) as _);
        (consumer, Watch { group, effects })
    }
}

impl FeedEffects {
    /// Ends a rebuild that is through.
    async fn finish(&self, group: &Group) -> Result<(), BoxError> {
        let Some(targets) = self.feed.targets().await? else {
            return Ok(());
        };
        let positions = group.stored_positions(topic::POSTS.name).await?;
        if !targets.reached(&positions) {
            return Ok(());
        }
        let mut args = Args::default();
        args.push(self.feed.group_key("")).push(self.feed.key(""));
        args.push(topic::POSTS.name);
        args.push(GLOBAL_LENGTH.to_string())
            .push(USER_LENGTH.to_string());
        let link = &self.feed.inner.link;
        link.fault(FaultPoint::BeforeWrite)?;
        link.fault(FaultPoint::BeforeCommit)?;
        link.write::<i64>(&self.finish, &args).await?;
        link.fault(FaultPoint::AfterCommit)
    }

    /// Begins a rebuild because a stream lacks posts, unless somebody else did. It waits until the
    /// group has caught up: only then does the group know all deletions.
    async fn refill(&self, group: &Group) -> Result<(), BoxError> {
        let behind = lag(&*self.bus, group, topic::POSTS.name).await?;
        if behind > CAUGHT_UP {
            return Ok(());
        }
        let state = self.feed.key("state");
        let wanted = [state.clone(), "refill".into(), "1".into()];
        let idle = [state, "building".into(), String::new()];
        let topics = [topic::POSTS.name.to_owned()];
        let before = self.feed.group_key("before");
        let args = self.rebuild_args(&topics, &before).await?;
        if group
            .forget(&topics, &[wanted, idle], &before, args)
            .await?
        {
            tracing::info!("too little is left of a stream: reading the log again");
        }
        Ok(())
    }

    /// The arguments that begin a rebuild if posts are among `topics`. Names and closed accounts stay, since
    /// the log forgets them after a week. Unless `before` is empty, the versions of posts are kept under it.
    async fn rebuild_args(&self, topics: &[String], before: &str) -> Result<Args, BoxError> {
        let clock = &self.feed.inner.settings.clock;
        let mut args = Args::default();
        if topics.iter().any(|name| name == topic::POSTS.name) {
            let targets = Targets::of(&self.bus.watermarks(topic::POSTS.name).await?);
            args.push("rebuild").push(clock.id().to_string());
            args.number(clock.now().timestamp_millis());
            args.push(serde_json::to_string(&targets)?).push(before);
        }
        Ok(args)
    }

    /// Polls the store for work that no write of this member shows.
    async fn look_around(&self, group: &Group) -> Result<(), BoxError> {
        group.look_around().await?;
        let mut pipeline = Pipeline::new();
        pipeline.hmget(self.feed.key("state"), &["building", "refill"][..]);
        let ((building, refill),): ((Option<String>, Option<String>),) =
            self.feed.inner.link.ask(&pipeline).await?;
        match (building, refill) {
            (Some(_), _) => self.finish(group).await,
            (None, Some(_)) => self.refill(group).await,
            (None, None) => Ok(()),
        }
    }
}

#[async_trait]
impl Effects for FeedEffects {
    fn script(&self) -> String {
        projection::script()
    }

    fn effect(&self, event: &Envelope, args: &mut Args) -> Result<(), HandlerError> {
        projection::effect(event, &*self.feed.inner.settings.clock, args)
    }

    async fn forget(&self, topics: &[String]) -> Result<Args, BoxError> {
        self.rebuild_args(topics, "").await
    }

    async fn settle(&self, group: &Group, answer: i64) -> Result<bool, BoxError> {
        let is_rebuilding = answer == REBUILDING;
        if is_rebuilding {
            self.finish(group).await?;
        }
        // Events read again are old: their age says nothing about the feed's freshness.
        Ok(!is_rebuilding)
    }
}

/// Notices what this member's writes don't show: an emptied store, another process's rebuild, a
/// stream that became too short.
pub struct Watch {
    group: Arc<Group>,
    effects: Arc<FeedEffects>,
}

#[async_trait]
impl Background for Watch {
    fn name(&self) -> &'static str {
        "watch over Redis"
    }

    async fn run(&self, stop: CancellationToken) -> anyhow::Result<()> {
        let server = self.group.link.server();
        let mut reminder = Reminder::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            match self.effects.look_around(&self.group).await {
                Ok(()) if reminder.is_over() => {
                    tracing::info!("Redis at {server} (REDIS_URL) answers again");
                }
                Ok(()) => {}
                Err(error) => {
                    let reason = chain(&*error);
                    if reminder.is_due(&reason) {
                        tracing::warn!(
                            error = reason,
                            "Redis at {server} (REDIS_URL) does not answer as it should"
                        );
                    }
                }
            }
        }
    }
}
