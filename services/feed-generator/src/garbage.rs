//! Garbage rows: entries of closed accounts, and of generations that were replaced or given up. One
//! write hides them all. They leave the tables afterwards, a page a write, so that no other write
//! waits long. The last page of a closed account answers that it is erased. A restarted process goes on
//! with the rows that it finds.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use sql::accounts::erased;
use sql::{Db, StoreError, Tx, execute, fetch_all, fetch_one, fetch_optional, rows_affected};

use crate::store::Source;

/// Most rows that leave in one write.
const PAGE: i64 = 500;

/// The owner of garbage rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    /// Generations that are neither shown nor built.
    Generations,
    /// A closed account.
    Author(i64),
}

/// The owners that have, or may have, garbage rows.
#[derive(Debug, Default)]
pub struct Garbage {
    known: Mutex<BTreeSet<Owner>>,
}

impl Garbage {
    /// Loads what an earlier process left.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn open(db: &Db) -> Result<Self, StoreError> {
        let mut reader = db.read().await?;
        let (serving, building) = generations(&mut reader).await?;
        let of_generations: Option<i64> = fetch_optional!(reader, scalar
            "select generation from entries
             where generation < $1 or (generation > $1 and generation < $2) limit 1"
            => serving, building)?;
        let of_authors: Vec<i64> = fetch_all!(reader, scalar
            "select user_id from authors where erased is not null")?;
        let authors = of_authors.into_iter().map(Owner::Author);
        let known = authors
            .chain(of_generations.map(|_| Owner::Generations))
            .collect();
        Ok(Self {
            known: Mutex::new(known),
        })
    }

    /// True if there may be garbage rows.
    pub fn any(&self) -> bool {
        !self.known.lock().is_empty()
    }

    /// Notes that this write leaves the rows of a generation.
    pub(crate) fn of_generation(self: &Arc<Self>, tx: &mut Tx) {
        self.note(tx, Owner::Generations);
    }

    /// Drops the first page of rows of an account that this write closes: mostly all of them. `records` were
    /// erased before.
    pub(crate) async fn of_author(
        self: &Arc<Self>,
        tx: &mut Tx,
        user_id: i64,
        records: i64,
    ) -> Result<(), StoreError> {
        execute!(tx, "update authors set erased = $2 where user_id = $1" => user_id, records)?;
        let left = Owner::Author(user_id);
        if drop_page_of(tx, left).await? {
            self.note(tx, left);
        }
        Ok(())
    }

    /// Notes it now, since the commit's answer may be lost, and again after the commit, since a
    /// page may be dropped in between.
    fn note(self: &Arc<Self>, tx: &mut Tx, left: Owner) {
        self.known.lock().insert(left);
        let garbage = Arc::clone(self);
        tx.after_commit(move || {
            garbage.known.lock().insert(left);
        });
    }

    /// Drops one page of garbage rows.
    ///
    /// # Errors
    /// When the database refuses. The next call goes on.
    pub async fn drop_page(&self, db: &Db) -> Result<(), StoreError> {
        let Some(left) = self.known.lock().first().copied() else {
            return Ok(());
        };
        let more = db.write(move |tx| Box::pin(drop_page_of(tx, left))).await?;
        if !more {
            self.known.lock().remove(&left);
        }
        Ok(())
    }
}

/// The shown generation, and the one being built, or else the shown one again.
async fn generations<S: Source>(source: &mut S) -> Result<(i64, i64), StoreError> {
    fetch_one!(
        source,
        "select serving, coalesce(building, serving) from feed_state"
    )
}

/// Drops a page; true when there may be more. The same write checks that the rows are hidden, since
/// the write that was to hide them may have been undone. The last page of an account answers.
async fn drop_page_of(tx: &mut Tx, left: Owner) -> Result<bool, StoreError> {
    let dropped = match left {
        Owner::Generations => {
            let (serving, building) = generations(tx).await?;
            rows_affected!(tx,
                "delete from entries where (post_id, generation) in (
                    select post_id, generation from entries
                    where generation < $1 or (generation > $1 and generation < $2) limit $3)"
                => serving, building, PAGE)?
        }
        Owner::Author(user_id) => {
            let dropped = rows_affected!(tx,
                "delete from entries where (post_id, generation) in (
                    select e.post_id, e.generation from entries e
                    where e.user_id = $1
                        and exists (select 1 from authors a where a.user_id = $1 and a.deleted)
                    limit $2)" => user_id, PAGE)?;
            count(tx, user_id, i64::try_from(dropped).unwrap_or(i64::MAX)).await?;
            dropped
        }
    };
    Ok(i64::try_from(dropped).is_ok_and(|dropped| dropped >= PAGE))
}

/// Counts a page of a closed account's rows, and answers when it was the last one.
async fn count(tx: &mut Tx, user_id: i64, dropped: i64) -> Result<(), StoreError> {
    let counted: Option<i64> = fetch_optional!(tx, scalar
        "update authors set erased = erased + $2 where user_id = $1 and erased is not null
         returning erased" => user_id, dropped)?;
    let Some(counted) = counted.filter(|_| dropped < PAGE) else {
        return Ok(());
    };
    execute!(tx, "update authors set erased = null where user_id = $1" => user_id)?;
    erased(tx, user_id, counted.unsigned_abs()).await
}
