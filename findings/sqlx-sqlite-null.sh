#!/usr/bin/env bash
# sqlx reads NULL from SQLite as 0, false or an empty text where the type has no Option.
# Expected: a column that is NULL, read as String or i64, is an error, as sqlx answers for PostgreSQL.
# Seen (sqlx 0.9.0, its bundled SQLite): String is "", i64 is 0, f64 is 0.0, bool is false, Vec<u8> is empty.
#   query_scalar, query_as and try_get do so alike. Only types that are parsed, such as DateTime, fail. max() of no rows is 0.
# Why it matters: a forgotten Option shows as an error on PostgreSQL and as wrong data on SQLite, where tests and small
#   sites run. "No last version" becomes version 0, and a row that was never set looks as if it were.
# What we do: columns are NOT NULL unless absence means something. What may be absent, and every max() and min(), is
#   read as Option or has a coalesce. Store suites run on both databases.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cargo_build nulls 'sqlx = { version = "=0.9.0", default-features = false, features = ["runtime-tokio", "sqlite-bundled", "chrono"] }
chrono = { version = "=0.4.45", default-features = false }
tokio = { version = "1", features = ["rt", "macros"] }' <<'RUST'
use sqlx::{Connection, Row, SqliteConnection, query, query_as, query_scalar};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), sqlx::Error> {
    let db = &mut SqliteConnection::connect("sqlite::memory:").await?;
    query("create table t (s text, i integer, r real, b blob, f boolean, d text)").execute(&mut *db).await?;
    query("insert into t default values").execute(&mut *db).await?;
    macro_rules! scalar {
        ($type:ty, $column:literal) => {
            let found = query_scalar::<_, $type>(concat!("select ", $column, " from t")).fetch_one(&mut *db).await;
            println!("{}: {:?}", stringify!($type), found.map_err(|_| "an error"));
        };
    }
    scalar!(String, "s");
    scalar!(i64, "i");
    scalar!(f64, "r");
    scalar!(Vec<u8>, "b");
    scalar!(bool, "f");
    scalar!(chrono::DateTime<chrono::Utc>, "d");
    scalar!(Option<i64>, "i");
    let pair: (String, i64) = query_as("select s, i from t").fetch_one(&mut *db).await?;
    println!("query_as: {pair:?}");
    let row = query("select s from t").fetch_one(&mut *db).await?;
    println!("try_get: {:?}", row.try_get::<String, _>(0)?);
    let last: i64 = query_scalar("select max(i) from t where i > 0").fetch_one(db).await?;
    println!("max of no rows: {last}");
    Ok(())
}
RUST
compare ./nulls <<'TEXT'
String: Ok("")
i64: Ok(0)
f64: Ok(0.0)
Vec<u8>: Ok([])
bool: Ok(false)
chrono::DateTime<chrono::Utc>: Err("an error")
Option<i64>: Ok(None)
query_as: ("", 0)
try_get: ""
max of no rows: 0
TEXT
as_found
