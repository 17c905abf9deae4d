//! Whoever only looks changes nothing of a schema.

use std::sync::Arc;

use blocks::SystemClock;
use blocks::error::chain;
use sql::{Db, Durability, Migration, Settings};

use crate::NOTES;

const LATER: Migration = Migration {
    version: 1002,
    what: "more",
    sqlite: "create table more (id integer primary key)",
    postgres: "create table more (id bigint primary key)",
};

async fn open(path: &std::path::Path, migrate: bool, steps: &[Migration]) -> Result<Db, String> {
    let settings = Settings {
        migrate,
        ..Settings::new("notes", Arc::new(SystemClock))
    };
    let opened = Db::open_sqlite(path, Durability::Process, settings, steps).await;
    opened.map_err(|error| chain(&error))
}

#[tokio::test]
async fn a_schema_of_another_version_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.db");
    open(&path, false, NOTES).await.err().unwrap();
    assert!(!path.exists(), "no file is made");
    open(&path, true, NOTES).await.unwrap().close().await;
    open(&path, false, NOTES).await.unwrap().close().await;
    let more = [NOTES, &[LATER]].concat();
    for steps in [&more[..], &[]] {
        let why = open(&path, false, steps).await.err().unwrap();
        assert!(why.contains("another version"), "{why}");
    }
    open(&path, false, NOTES).await.unwrap().close().await;
}
