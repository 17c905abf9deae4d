use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::*;

#[derive(Clone, Default)]
struct Memory {
    rows: Arc<Mutex<BTreeMap<i64, String>>>,
    /// How many rows it takes before it breaks.
    takes: Option<usize>,
    breaks_after: Option<usize>,
}

impl Memory {
    fn of(rows: impl IntoIterator<Item = i64>) -> Self {
        let rows = rows.into_iter().map(|key| (key, format!("row {key}")));
        Self {
            rows: Arc::new(Mutex::new(rows.collect())),
            ..Self::default()
        }
    }

    fn keys(&self) -> Vec<i64> {
        self.rows.lock().keys().copied().collect()
    }
}

#[async_trait]
impl Side for Memory {
    async fn read(&self, rows: &Rows) -> Result<(), BoxError> {
        let all = self.rows.lock().clone();
        for (at, (key, text)) in all.into_iter().enumerate() {
            if self.breaks_after == Some(at) {
                return Err("broken".into());
            }
            if !rows.give(Row::new([Key::Number(key)], text)).await {
                break;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Target for Memory {
    async fn insert(&self, new: Vec<Row>) -> Result<(), BoxError> {
        for row in new {
            let mut rows = self.rows.lock();
            if self.takes.is_some_and(|takes| rows.len() >= takes) {
                return Err("full".into());
            }
            let [Key::Number(key)] = row.key[..] else {
                return Err("no number".into());
            };
            assert_eq!(rows.insert(key, row.text), None, "it was there");
        }
        Ok(())
    }
}

fn part(source: &Memory, target: &Memory) -> Part {
    Part {
        name: "test".into(),
        source: Box::new(source.clone()),
        target: Box::new(target.clone()),
    }
}

#[tokio::test]
async fn what_is_missing_is_written_and_a_second_time_nothing_is() {
    let (source, target) = (Memory::of(0..1300), Memory::of((0..1300).step_by(3)));
    let part = part(&source, &target);
    let before = part.compare(&|| {}).await.unwrap();
    assert_eq!((before.here, before.missing()), (1300, 866));
    assert!(!before.is_equal());
    assert_eq!(part.copy(&|| {}).await.unwrap(), 866);
    assert_eq!(target.keys(), source.keys());
    assert!(part.compare(&|| {}).await.unwrap().is_equal());
    assert_eq!(part.copy(&|| {}).await.unwrap(), 0);
}

#[tokio::test]
async fn one_that_was_broken_off_goes_on_where_it_stopped() {
    let source = Memory::of(0..2000);
    let broken = Memory {
        takes: Some(700),
        ..Memory::default()
    };
    let error = part(&source, &broken).copy(&|| {}).await.unwrap_err();
    assert!(matches!(error, MigrateError::Write { .. }), "{error}");
    let mended = Memory {
        takes: None,
        ..broken
    };
    assert_eq!(part(&source, &mended).copy(&|| {}).await.unwrap(), 1300);
    assert_eq!(mended.keys(), source.keys());
}

#[tokio::test]
async fn what_did_not_come_from_here_is_refused_wherever_it_lies() {
    for foreign in [-1, 5, 99] {
        let source = Memory::of((0..20).filter(|key| *key != 5));
        let target = Memory::of([foreign]);
        let part = part(&source, &target);
        for error in [
            part.compare(&|| {}).await.err(),
            part.copy(&|| {}).await.err(),
        ] {
            let error = error.unwrap().to_string();
            assert!(
                error.contains(&format!("test: {foreign} is there")),
                "{error}"
            );
        }
        assert_eq!(target.keys(), [foreign], "nothing was written");
    }
}

#[tokio::test]
async fn a_row_that_is_another_one_there_is_refused() {
    let (source, target) = (Memory::of(0..20), Memory::of(0..3));
    target.rows.lock().insert(1, "changed".into());
    let error = part(&source, &target).copy(&|| {}).await.unwrap_err();
    assert!(matches!(error, MigrateError::Differs(row) if row == "test: 1"));
}

#[tokio::test]
async fn a_side_that_breaks_is_not_taken_for_one_that_ends() {
    let broken = |rows| Memory {
        breaks_after: Some(2),
        ..Memory::of(rows)
    };
    let whole = Memory::of(0..20);
    let error = part(&broken(0..20), &Memory::of(0..2))
        .compare(&|| {})
        .await;
    assert!(matches!(error, Err(MigrateError::Read(_, HERE, _))));
    let error = part(&whole, &broken(0..20)).compare(&|| {}).await;
    assert!(matches!(error, Err(MigrateError::Read(_, THERE, _))));
}

#[tokio::test]
async fn what_a_target_that_breaks_off_did_not_show_is_not_written_again() {
    // A memory panics when it is given what it has.
    let there = Memory {
        breaks_after: Some(1),
        ..Memory::of(0..5000)
    };
    let here = Memory::of(0..5000);
    let error = part(&here, &there).copy(&|| {}).await;
    assert!(matches!(error, Err(MigrateError::Read(_, THERE, _))));
    assert_eq!(there.keys().len(), 5000);
}
