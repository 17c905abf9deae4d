//! A service's tables go from its file to PostgreSQL as they are, whatever the types of their columns.

use sql::{Db, Migration, StoreError, execute, fetch_one};

const KINDS: &[Migration] = &[Migration {
    version: 1001,
    what: "a column of each kind",
    sqlite: "create table kinds (id integer primary key autoincrement, is_on boolean not null,
             words text, at text not null, day text, name blob not null, bytes blob)",
    postgres: "create table kinds (id bigint generated always as identity primary key,
             is_on boolean not null, words text, at timestamptz not null, day date,
             name uuid not null, bytes bytea)",
}];

async fn fill(from: &Db) {
    let written: Result<(), StoreError> = from
        .write(|tx| {
            Box::pin(async move {
                for words in [Some("ü\"\\ 'x'"), None] {
                    let (name, now) = (tx.id(), tx.now());
                    execute!(tx,
                        "insert into kinds (is_on, words, at, day, name, bytes)
                         values (true, $1, $2, $3, $4, $5)"
                        => words, now, now.date_naive(), name, words.map(str::as_bytes))?;
                }
                execute!(tx, "delete from kinds where words is null")
            })
        })
        .await;
    written.unwrap();
}

#[tokio::test]
#[ignore = "needs TEST_DATABASE_URL"]
async fn every_table_and_the_next_ids_are_moved() {
    let from = testkit::db::sqlite("kinds", KINDS).await;
    let to = testkit::db::postgres("kinds", KINDS).await;
    fill(&from.db).await;
    let parts = sql::tables::parts(&from.db, &to.db).await.unwrap();
    let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
    assert!(names.contains(&"kinds.kinds"), "{names:?}");
    assert!(!names.contains(&"kinds.leases"), "{names:?}");
    let mut copied = 0;
    for part in &parts {
        copied += part.copy(&|| ()).await.unwrap();
        let compared = part.compare(&|| ()).await.unwrap();
        assert!(compared.is_equal(), "{}: {compared:?}", part.name);
    }
    assert_eq!(copied, 2, "a row, and the last id");

    let mut reader = to.db.read().await.unwrap();
    let words: String = fetch_one!(reader, scalar "select words from kinds where is_on").unwrap();
    assert_eq!(words, "ü\"\\ 'x'");
    fill(&to.db).await;
    // The file gave the id 2 already.
    let next: i64 = fetch_one!(reader, scalar "select max(id) from kinds").unwrap();
    assert_eq!(next, 3);
    assert!(sql::tables::parts(&to.db, &from.db).await.is_err());
}
