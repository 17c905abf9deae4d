//! Rebuilds the entries from the log, while the old ones go on being shown.
//!
//! A rebuild fills a *generation* of its own, which begins empty when the group's offsets are
//! forgotten. Once the group has reached the watermarks of that moment, one write shows it instead
//! of the old generation. The old rows leave the tables afterwards ([`Garbage`]). The plan is in
//! the tables: a restart goes on with it. New events go into both generations, so readers see them
//! without delay.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blocks::bus::Watermarks;
use chrono::{DateTime, Utc};
use events::topic;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sql::{Db, StoreError, Tx, execute, fetch_all, fetch_one};

use crate::consumer::GROUP;
use crate::garbage::Garbage;
use crate::mirror::Mirror;
use crate::store::{Source, newest};

/// The first and end offsets of a rebuild, by partition. Partitions without records are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Targets(BTreeMap<i32, (i64, i64)>);

impl Targets {
    /// The whole log as it is now.
    pub fn of(watermarks: &[Watermarks]) -> Self {
        let spans = (0..)
            .zip(watermarks)
            .filter(|(_, watermark)| watermark.oldest < watermark.next);
        Self(
            spans
                .map(|(partition, watermark)| (partition, (watermark.oldest, watermark.next)))
                .collect(),
        )
    }

    pub(crate) fn reached(&self, positions: &BTreeMap<i32, i64>) -> bool {
        self.0
            .iter()
            .all(|(partition, (_, end))| positions.get(partition).is_some_and(|next| next >= end))
    }

    /// The progress of a group at `positions`.
    pub fn progress(&self, positions: &BTreeMap<i32, i64>) -> Progress {
        let mut progress = Progress::default();
        for (partition, (start, end)) in &self.0 {
            let next = positions
                .get(partition)
                .map_or(*start, |next| *next.clamp(start, end));
            progress.done += next - start;
            progress.total += end - start;
        }
        progress
    }
}

/// The progress of a rebuild.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Records of the log that were read.
    pub done: i64,
    /// Records of the log to read in all.
    pub total: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Plan {
    generation: i64,
    targets: Targets,
}

/// This process's knowledge of the current rebuild.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Knowledge {
    /// The current rebuild, or that there is none.
    Plan(Option<Plan>),
    /// A write that may have changed it was not answered: only the tables know.
    Unsure,
}

/// The current rebuild, if there is one.
pub struct Rebuild {
    mirror: Arc<Mirror>,
    garbage: Arc<Garbage>,
    /// The log's watermarks, noted before the offsets are forgotten.
    noted: Mutex<Targets>,
    known: Arc<Mutex<Knowledge>>,
}

impl Rebuild {
    /// Loads the rebuild that was under way, if there was one.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn open(
        db: &Db,
        mirror: Arc<Mirror>,
        garbage: Arc<Garbage>,
    ) -> Result<Self, StoreError> {
        let (_, plan) = state(&mut db.read().await?).await?;
        let known = Arc::new(Mutex::new(Knowledge::Plan(plan)));
        Ok(Self {
            mirror,
            garbage,
            noted: Mutex::default(),
            known,
        })
    }

    /// Notes the log's watermarks, for the reset that follows.
    pub fn note(&self, targets: Targets) {
        *self.noted.lock() = targets;
    }

    /// True if a rebuild is or may be under way.
    pub fn is_running(&self) -> bool {
        *self.known.lock() != Knowledge::Plan(None)
    }

    /// Begins an empty generation, in the write that forgets the offsets. A rebuild under way
    /// begins again.
    pub(crate) async fn begin(&self, tx: &mut Tx) -> Result<(), StoreError> {
        // Until its commit is known to be done.
        *self.known.lock() = Knowledge::Unsure;
        let targets = self.noted.lock().clone();
        let (serving, plan) = state(tx).await?;
        let is_again = plan.is_some();
        let generation = plan.map_or(serving, |plan| plan.generation) + 1;
        let (now, text): (DateTime<Utc>, _) = (tx.now(), serde_json::to_string(&targets)?);
        if is_again {
            self.garbage.of_generation(tx);
        }
        execute!(tx,
            "update feed_state set building = $1, started_at = $2, targets = $3"
            => generation, now, &text)?;
        let known = Arc::clone(&self.known);
        let plan = Plan {
            generation,
            targets,
        };
        tx.after_commit(move || *known.lock() = Knowledge::Plan(Some(plan)));
        Ok(())
    }

    /// Shows the new generation when the group has reached its targets.
    ///
    /// # Errors
    /// When the database refuses. The next call tries again.
    pub async fn finish_if_reached(&self, db: &Db) -> Result<(), StoreError> {
        let positions = offsets(&mut db.read().await?).await?;
        match &*self.known.lock() {
            Knowledge::Plan(Some(plan)) if !plan.targets.reached(&positions) => return Ok(()),
            Knowledge::Plan(None) => return Ok(()),
            Knowledge::Plan(Some(_)) | Knowledge::Unsure => {}
        }
        let (mirror, known) = (Arc::clone(&self.mirror), Arc::clone(&self.known));
        let garbage = Arc::clone(&self.garbage);
        let shown = Arc::new(AtomicBool::new(false));
        let in_doubt = Arc::clone(&shown);
        let done = db.write(move |tx| {
            Box::pin(async move {
                let mut plan = state(tx).await?.1;
                // Another rebuild may have begun since the offsets were read.
                let positions = offsets(tx).await?;
                if let Some(reached) = plan.take_if(|plan| plan.targets.reached(&positions)) {
                    show(tx, reached.generation).await?;
                    garbage.of_generation(tx);
                    shown.store(true, Ordering::Relaxed);
                }
                let (entries, complete) = newest(tx, &mirror).await?;
                tx.after_commit(move || {
                    mirror.replace(entries, complete);
                    *known.lock() = Knowledge::Plan(plan);
                });
                Ok(())
            })
        });
        let done = done.await;
        if done.is_err() && in_doubt.load(Ordering::Relaxed) {
            // It may have been committed without its hooks: then the mirror still holds the old
            // generation.
            self.mirror.distrust();
        }
        done
    }
}

/// The group's offsets in the tables.
async fn offsets<S: Source>(source: &mut S) -> Result<BTreeMap<i32, i64>, StoreError> {
    let stored: Vec<(i32, i64)> = fetch_all!(source,
        "select partition, next_offset from consumer_offsets
         where consumer_group = $1 and topic = $2" => GROUP, topic::POSTS.name)?;
    Ok(stored.into_iter().collect())
}

/// Shows `generation` from now on.
async fn show(tx: &mut Tx, generation: i64) -> Result<(), StoreError> {
    execute!(tx,
        "update feed_state set serving = $1, building = null, started_at = null, targets = null"
        => generation)
}

/// The targets of the current rebuild, from the tables.
///
/// # Errors
/// When the database can't be read.
pub async fn targets(db: &Db) -> Result<Option<Targets>, StoreError> {
    Ok(state(&mut db.read().await?)
        .await?
        .1
        .map(|plan| plan.targets))
}

/// The generation that is shown, and the current rebuild.
async fn state<S: Source>(source: &mut S) -> Result<(i64, Option<Plan>), StoreError> {
    let (serving, building, targets): (i64, Option<i64>, Option<String>) =
        fetch_one!(source, "select serving, building, targets from feed_state")?;
    let plan = match (building, targets) {
        (Some(generation), Some(text)) => Some(Plan {
            generation,
            targets: serde_json::from_str(&text)?,
        }),
        _ => None,
    };
    Ok((serving, plan))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_counts_what_was_passed_of_what_the_log_had() {
        let watermark = |oldest, next| Watermarks { oldest, next };
        let targets = Targets::of(&[watermark(0, 10), watermark(5, 5), watermark(4, 6)]);
        let at = |positions: &[(i32, i64)]| targets.progress(&positions.iter().copied().collect());
        assert_eq!(at(&[]), Progress { done: 0, total: 12 });
        assert_eq!(at(&[(0, 3), (2, 5)]), Progress { done: 4, total: 12 });
        assert_eq!(
            at(&[(0, 99), (1, 7), (2, 6)]),
            Progress {
                done: 12,
                total: 12
            }
        );
        assert!(!targets.reached(&BTreeMap::from([(0, 10)])));
        assert!(targets.reached(&BTreeMap::from([(0, 10), (2, 6)])));
        assert!(Targets::of(&[watermark(3, 3)]).reached(&BTreeMap::new()));
    }
}
