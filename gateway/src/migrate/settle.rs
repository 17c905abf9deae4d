//! Brings a folder to rest: relays publish, groups apply, and background work ends, until nothing is left. A
//! server does the same when nobody asks it anything.

use std::sync::Arc;
use std::time::Duration;

use blocks::bus::EventBus;
use blocks::consumer::lag;
use blocks::metrics::Metrics;
use runtime::process::work;
use runtime::stage::{Alarm, Stage};
use runtime::{Delivery, Embedded};
use service::{Opened, Place};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::pending;
use crate::site::Site;

/// The pause between two polls.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The longest time without progress while something is left.
const PATIENCE: Duration = Duration::from_mins(1);
/// The longest wait for a task that was told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// The work that is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Left {
    /// Events that are committed and not published.
    pending: i64,
    /// Records that a group has not applied.
    behind: i64,
    /// Something goes on that no lag shows, as a rebuild.
    unfinished: bool,
}

impl Left {
    const NOTHING: Self = Self {
        pending: 0,
        behind: 0,
        unfinished: false,
    };

    async fn of(site: &Site, bus: &dyn EventBus) -> anyhow::Result<Self> {
        let mut left = Self::NOTHING;
        // In this order: what a group has applied is in its outbox by then.
        for consumer in site.opened.iter().flat_map(|of| &of.service.consumers) {
            for topic in &consumer.topics {
                let behind = lag(bus, &*consumer.store, topic).await;
                left.behind += behind.map_err(anyhow::Error::from_boxed)?;
            }
        }
        for opened in &site.opened {
            if let Some(outbox) = &opened.service.outbox {
                left.pending += pending(&**outbox).await?;
            }
            if let Some(unfinished) = &opened.unfinished {
                left.unfinished |= unfinished().await.map_err(anyhow::Error::from_boxed)?;
            }
        }
        Ok(left)
    }
}

/// Runs relays and groups until nothing is left.
///
/// # Errors
/// When something is left that does not go on.
pub(super) async fn settle(site: &Site, embedded: &Embedded) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let alarm = Alarm::new(stop.clone());
    let groups = Stage::new("consumers", CancellationToken::new(), &alarm);
    let relays = Stage::new("relays", CancellationToken::new(), &alarm);
    let bus = embedded.bus();
    let delivery = Delivery {
        bus: Arc::clone(&bus),
        clock: Arc::clone(embedded.clock()),
        metrics: Metrics::new(),
    };
    for Opened { service, .. } in &site.opened {
        work(service, &groups);
        delivery.consume(service, &groups);
        delivery.relay(service, &relays);
    }
    let waited = tokio::select! {
        () = stop.cancelled() => Ok(()),
        waited = wait(site, &*bus) => waited,
    };
    groups.end(GRACE).await;
    relays.end(GRACE).await;
    alarm.outcome()?;
    waited?;
    // Work may have come between the last poll and the end.
    match Left::of(site, &*bus).await? {
        Left::NOTHING => Ok(()),
        left => Err(stuck(left)),
    }
}

async fn wait(site: &Site, bus: &dyn EventBus) -> anyhow::Result<()> {
    let mut last = (Left::of(site, bus).await?, Instant::now());
    // Twice in a row: an event that was published between the two questions of one poll shows in the next.
    let mut quiet = 0;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let left = Left::of(site, bus).await?;
        quiet = if left == Left::NOTHING { quiet + 1 } else { 0 };
        if quiet == 2 {
            return Ok(());
        }
        if left != last.0 {
            last = (left, Instant::now());
        } else if last.1.elapsed() > PATIENCE {
            return Err(stuck(left));
        }
    }
}

fn stuck(left: Left) -> anyhow::Error {
    let Left {
        pending,
        behind,
        unfinished,
    } = left;
    let unfinished = if unfinished {
        ", and a rebuild of the feed or the erasure of an account is under way"
    } else {
        ""
    };
    anyhow::anyhow!(
        "the folder does not come to rest: {pending} events are not published, {behind} not applied\
         {unfinished}; start the server on it and look at `rookery outbox` and `rookery events topics`"
    )
}
