//! The feed's group in Redis. It also ends a rebuild that is through, and begins one when a stream has
//! become too short.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use blocks::backoff::Reminder;
use blocks::bus::{EventBus, Positions, Record};
use blocks::consumer::{Applied, ApplyError, Blocked, ConsumerStore, Pulse, lag};
use blocks::error::{BoxError, chain};
use blocks::service::Background;
use events::topic;
use redis::{Pipeline, Script};
use sql::FaultPoint;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::RedisFeed;
use super::args::Args;
use super::group::{Group, Offsets};
use crate::domain::{GLOBAL_LENGTH, USER_LENGTH};
use crate::rebuild::Targets;
use crate::store::FeedStore;

/// Interval at which a member polls whether the store is still the one it knows.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Answer of the feed's script to a write during a rebuild.
const REBUILDING: i64 = 1;
/// The greatest lag, in records, with which a group counts as caught up.
const CAUGHT_UP: i64 = 1000;

/// The group's store: a [`Group`] with the feed's follow-up to each write.
pub struct FeedGroup {
    inner: Group,
    feed: RedisFeed,
    bus: Arc<dyn EventBus>,
    finish: Script,
}

impl FeedGroup {
    /// The group's store in `feed`, with the topics of `bus`.
    pub(crate) fn new(feed: RedisFeed, bus: Arc<dyn EventBus>) -> Self {
        Self {
            inner: feed.group(),
            feed,
            bus,
            finish: Script::new(include_str!("finish.lua")),
        }
    }

    /// Ends a rebuild that is through.
    async fn finish(&self) -> Result<(), BoxError> {
        let Some(targets) = self.feed.targets().await? else {
            return Ok(());
        };
        let positions = self.inner.stored_positions(topic::POSTS.name).await?;
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
    async fn refill(&self) -> Result<(), BoxError> {
        let behind = lag(&*self.bus, &self.inner, topic::POSTS.name).await?;
        if behind > CAUGHT_UP {
            return Ok(());
        }
        let state = self.feed.key("state");
        let wanted = [state.clone(), "refill".into(), "1".into()];
        let idle = [state, "building".into(), String::new()];
        let topics = [topic::POSTS.name.to_owned()];
        let before = self.feed.group_key("before");
        if self.begin(&topics, &[wanted, idle], &before).await? {
            tracing::info!("too little is left of a stream: reading the log again");
        }
        Ok(())
    }

    /// Forgets `topics` if all of `checks` hold. Unless `before` is empty, the versions are kept under
    /// that key.
    async fn begin(
        &self,
        topics: &[String],
        checks: &[[String; 3]],
        before: &str,
    ) -> Result<bool, BoxError> {
        let clock = &self.feed.inner.settings.clock;
        let mut args = Args::default();
        if topics.iter().any(|name| name == topic::USERS.name) {
            args.push("forget_names").push(clock.id().to_string());
        }
        if topics.iter().any(|name| name == topic::POSTS.name) {
            let targets = Targets::of(&self.bus.watermarks(topic::POSTS.name).await?);
            args.push("rebuild").push(clock.id().to_string());
            args.number(clock.now().timestamp_millis());
            args.push(serde_json::to_string(&targets)?).push(before);
        }
        self.inner.forget(topics, checks, before, args).await
    }

    /// Does what must follow a write that leaves partitions at the offsets `here`. If this fails, the
    /// write stays: given again it is skipped, and only this is tried again.
    async fn followed(&self, told: i64, here: Offsets) -> Result<Applied, ApplyError> {
        let is_rebuilding = told == REBUILDING;
        if is_rebuilding {
            self.finish().await.map_err(ApplyError::Unavailable)?;
        }
        let mut applied = self.inner.done(here);
        if is_rebuilding {
            // Events read again are old: their age says nothing about the feed's freshness.
            applied.freshness_ms.clear();
        }
        Ok(applied)
    }

    /// Polls the store for work that no write of this member shows.
    async fn look_around(&self) -> Result<(), BoxError> {
        self.inner.look_around().await?;
        let mut pipeline = Pipeline::new();
        pipeline.hmget(self.feed.key("state"), &["building", "refill"][..]);
        let ((building, refill),): ((Option<String>, Option<String>),) =
            self.feed.inner.link.ask(&pipeline).await?;
        match (building, refill) {
            (Some(_), _) => self.finish().await,
            (None, Some(_)) => self.refill().await,
            (None, None) => Ok(()),
        }
    }
}

/// Notices what this member's writes don't show: an emptied store, another process's rebuild, a
/// stream that became too short.
pub struct Watch(pub(crate) Arc<FeedGroup>);

#[async_trait]
impl Background for Watch {
    fn name(&self) -> &'static str {
        "watch over Redis"
    }

    async fn run(&self, stop: CancellationToken) -> anyhow::Result<()> {
        let server = self.0.feed.inner.link.server();
        let mut reminder = Reminder::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            match self.0.look_around().await {
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

#[async_trait]
impl Positions for FeedGroup {
    async fn begin_at(
        &self,
        topic: &str,
        partitions: &[i32],
    ) -> Result<BTreeMap<i32, i64>, BoxError> {
        self.inner.begin_at(topic, partitions).await
    }
}

#[async_trait]
impl ConsumerStore for FeedGroup {
    fn starts_over(&self) {
        self.inner.starts_over();
    }

    async fn stored_positions(&self, topic: &str) -> Result<BTreeMap<i32, i64>, BoxError> {
        self.inner.stored_positions(topic).await
    }

    fn most_at_once(&self) -> usize {
        self.inner.most_at_once()
    }

    async fn apply(&self, records: &[Record]) -> Result<Applied, ApplyError> {
        let (told, here) = self.inner.apply_told(records).await?;
        self.followed(told, here).await
    }

    async fn retry_due(&self) -> Result<Applied, ApplyError> {
        let told = self.inner.retry_told().await?;
        self.followed(told, Offsets::new()).await
    }

    async fn pulse(&self) -> Result<Pulse, BoxError> {
        self.inner.pulse().await
    }

    async fn give_up_gaps(&self, topic: &str, partitions: &[i32]) -> Result<(), BoxError> {
        self.inner.give_up_gaps(topic, partitions).await
    }

    fn due(&self) -> &Notify {
        self.inner.due()
    }

    async fn blocked(&self) -> Result<Vec<Blocked>, BoxError> {
        self.inner.blocked().await
    }

    async fn waiting(&self, id: i64, max: usize) -> Result<Vec<Record>, BoxError> {
        self.inner.waiting(id, max).await
    }

    async fn replay(&self, id: i64) -> Result<bool, BoxError> {
        self.inner.replay(id).await
    }

    async fn discard(&self, id: i64) -> Result<bool, BoxError> {
        self.inner.discard(id).await
    }

    async fn reset(&self, topics: &[String]) -> Result<(), BoxError> {
        self.begin(topics, &[], "").await?;
        self.finish().await
    }

    async fn clean_up(&self) -> Result<u64, BoxError> {
        self.inner.clean_up().await
    }
}
