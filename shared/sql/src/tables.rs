//! Migrates tables from a SQLite file to a schema of PostgreSQL: see [`blocks::data_migration`].
//!
//! The databases are asked for their tables and columns, so that a service's next migration needs no change
//! here. The schema's own migrations made the tables. Its types say how a value is written: times in
//! microseconds, bytes in hex, dates as they are.
//!
//! The old log's offsets and this process's leases are left behind: `LEFT_BEHIND`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use blocks::data_migration::{Key, Nothing, Part, Row, Rows, Side, Target};
use blocks::error::BoxError;
use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use futures::TryStreamExt;
use serde_json::{Map, Value};
use sqlx::{AssertSqlSafe, Row as _};
use uuid::Uuid;

use crate::db::Db;
use crate::dialect::Dialect;
use crate::error::StoreError;
use crate::on;
use crate::tx::Conn;

/// Tables that each database has for itself: offsets in its own log, leases, changes to tell other
/// replicas. In the target they are empty as long as nobody runs there.
const LEFT_BEHIND: &[&str] = &["consumer_offsets", "leases", "changes"];
/// Those of them that have rows once a service has run there.
const EMPTY_THERE: &[&str] = &["consumer_offsets"];
/// The record of migrations: each database has its own.
const MIGRATIONS: &str = "_sqlx_migrations";

/// The text form of a column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Switch,
    Text,
    Time,
    Date,
    Id,
    Bytes,
}

impl Kind {
    fn of(postgres: &str) -> Option<Self> {
        Some(match postgres {
            "bigint" | "integer" | "smallint" => Self::Number,
            "boolean" => Self::Switch,
            "text" => Self::Text,
            "timestamp with time zone" => Self::Time,
            "date" => Self::Date,
            "uuid" => Self::Id,
            "bytea" => Self::Bytes,
            _ => return None,
        })
    }
}

#[derive(Debug, Clone)]
struct Column {
    name: String,
    kind: Kind,
}

#[derive(Debug, Clone)]
struct Table {
    name: String,
    columns: Vec<Column>,
    /// Indexes of the columns of its key, in order.
    key: Vec<usize>,
}

/// All parts to migrate from the SQLite file `from` to the schema of `to`, in an order that references
/// allow.
///
/// # Errors
/// When a database can't be asked, or the two have not the same tables.
pub async fn parts(from: &Db, to: &Db) -> Result<Vec<Part>, StoreError> {
    let service = from.settings().service;
    let known = columns_there(to).await?;
    let mut parts = Vec::new();
    for name in names_here(from).await? {
        if LEFT_BEHIND.contains(&name.as_str()) || name == MIGRATIONS {
            continue;
        }
        let table = table(from, name, &known).await?;
        parts.push(Part {
            name: format!("{service}.{}", table.name),
            source: Box::new(Content {
                db: from.clone(),
                table: table.clone(),
            }),
            target: Box::new(Content {
                db: to.clone(),
                table,
            }),
        });
    }
    let sequences = |db: &Db| Sequences { db: db.clone() };
    parts.push(Part {
        name: format!("{service}: the next ids"),
        source: Box::new(sequences(from)),
        target: Box::new(sequences(to)),
    });
    for name in EMPTY_THERE {
        let table = table(from, (*name).to_owned(), &known).await?;
        parts.push(Part {
            name: format!("{service}.{name}"),
            source: Box::new(Nothing),
            target: Box::new(Content {
                db: to.clone(),
                table,
            }),
        });
    }
    Ok(parts)
}

/// The tables of a SQLite file, in the order in which they were made.
async fn names_here(db: &Db) -> Result<Vec<String>, StoreError> {
    let mut reader = db.read().await?;
    match reader.conn() {
        Conn::Sqlite(conn) => Ok(sqlx::query_scalar(
            "select name from sqlite_master where type = 'table' and name not like 'sqlite\\_%' escape '\\'
             order by rowid",
        )
        .fetch_all(conn)
        .await?),
        Conn::Postgres(_) => Err(StoreError::Rejected("not a SQLite file".into())),
    }
}

/// The columns of every table of a schema, with their types.
async fn columns_there(db: &Db) -> Result<BTreeMap<String, BTreeMap<String, String>>, StoreError> {
    let mut reader = db.read().await?;
    let rows: Vec<(String, String, String)> = match reader.conn() {
        Conn::Postgres(conn) => {
            sqlx::query_as(
                "select table_name::text, column_name::text, data_type::text
                 from information_schema.columns where table_schema = current_schema()",
            )
            .fetch_all(conn)
            .await?
        }
        Conn::Sqlite(_) => return Err(StoreError::Rejected("not a PostgreSQL schema".into())),
    };
    let mut tables: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (table, column, kind) in rows {
        tables.entry(table).or_default().insert(column, kind);
    }
    Ok(tables)
}

async fn table(
    from: &Db,
    name: String,
    known: &BTreeMap<String, BTreeMap<String, String>>,
) -> Result<Table, StoreError> {
    let refused = |why: String| StoreError::Rejected(why.into());
    let there = known.get(&name);
    let there = there.ok_or_else(|| refused(format!("the schema has no table {name}")))?;
    let mut reader = from.read().await?;
    let here: Vec<(String, i64)> = on!(reader, conn => sqlx::query_as(
        "select name, pk from pragma_table_info($1) order by cid",
    )
    .bind(&name)
    .fetch_all(&mut *conn)
    .await)?;
    if here.len() != there.len() {
        return Err(refused(format!("table {name} has other columns there")));
    }
    let mut columns = Vec::with_capacity(here.len());
    let mut key = Vec::new();
    for (index, (column, place)) in here.into_iter().enumerate() {
        let kind = there.get(&column).and_then(|kind| Kind::of(kind));
        let kind =
            kind.ok_or_else(|| refused(format!("column {column} of table {name} can't be moved")))?;
        columns.push(Column { name: column, kind });
        if place > 0 {
            key.push((place, index));
        }
    }
    key.sort_unstable();
    let key = key.into_iter().map(|(_, index)| index).collect();
    Ok(Table { name, columns, key })
}

/// The rows of a table.
struct Content {
    db: Db,
    table: Table,
}

impl Table {
    fn names(&self) -> String {
        let names: Vec<String> = self
            .columns
            .iter()
            .map(|column| quoted(&column.name))
            .collect();
        names.join(", ")
    }

    fn select(&self, dialect: Dialect) -> String {
        let is_postgres = dialect == Dialect::Postgres;
        let column = |column: &Column| {
            let widened = is_postgres && column.kind == Kind::Number;
            let name = quoted(&column.name);
            if widened {
                format!("{name}::bigint")
            } else {
                name
            }
        };
        let columns: Vec<String> = self.columns.iter().map(column).collect();
        let in_order = |index: &usize| {
            let column = &self.columns[*index];
            let by_byte = is_postgres && column.kind == Kind::Text;
            let name = quoted(&column.name);
            if by_byte {
                format!("{name} collate \"C\"")
            } else {
                name
            }
        };
        let order: Vec<String> = self.key.iter().map(in_order).collect();
        format!(
            "select {} from {} order by {}",
            columns.join(", "),
            quoted(&self.name),
            order.join(", ")
        )
    }

    fn row(&self, values: Vec<Value>) -> Result<Row, BoxError> {
        let key = self.key.iter().map(|index| {
            let value = &values[*index];
            match (self.columns[*index].kind, value) {
                (Kind::Number, Value::Number(number)) => number.as_i64().map(Key::Number),
                (Kind::Id, Value::String(id)) => Uuid::try_parse(id).ok().map(Key::Id),
                (_, Value::String(text)) => Some(Key::Text(text.clone())),
                _ => None,
            }
            .ok_or_else(|| format!("a row of {} whose key is {value}", self.name))
        });
        let key = key.collect::<Result<Vec<Key>, String>>()?;
        let names = self.columns.iter().map(|column| column.name.clone());
        let object: Map<String, Value> = names.zip(values).collect();
        Ok(Row::new(key, serde_json::to_string(&object)?))
    }
}

/// The values of a row, as the columns' kinds write them.
macro_rules! values {
    ($row:expr, $columns:expr) => {{
        let mut values = Vec::with_capacity($columns.len());
        for (index, column) in $columns.iter().enumerate() {
            let value = match column.kind {
                Kind::Number => $row.try_get::<Option<i64>, _>(index)?.map(Value::from),
                Kind::Switch => $row.try_get::<Option<bool>, _>(index)?.map(Value::from),
                Kind::Text => $row.try_get::<Option<String>, _>(index)?.map(Value::from),
                Kind::Time => $row
                    .try_get::<Option<DateTime<Utc>>, _>(index)?
                    .map(|time| time.to_rfc3339_opts(SecondsFormat::Micros, true).into()),
                Kind::Date => $row
                    .try_get::<Option<NaiveDate>, _>(index)?
                    .map(|date| date.to_string().into()),
                Kind::Id => $row
                    .try_get::<Option<Uuid>, _>(index)?
                    .map(|id| id.to_string().into()),
                Kind::Bytes => $row
                    .try_get::<Option<Vec<u8>>, _>(index)?
                    .map(|bytes| format!("\\x{}", hex::encode(bytes)).into()),
            };
            values.push(value.unwrap_or(Value::Null));
        }
        values
    }};
}

#[async_trait]
impl Side for Content {
    async fn read(&self, rows: &Rows) -> Result<(), BoxError> {
        let statement = self.table.select(self.db.dialect());
        let mut reader = self.db.read().await?;
        match reader.conn() {
            Conn::Sqlite(conn) => {
                let mut found = sqlx::query(AssertSqlSafe(statement)).fetch(conn);
                while let Some(row) = found.try_next().await? {
                    let row = self.table.row(values!(row, self.table.columns))?;
                    if !rows.give(row).await {
                        break;
                    }
                }
            }
            Conn::Postgres(conn) => {
                let mut found = sqlx::query(AssertSqlSafe(statement)).fetch(conn);
                while let Some(row) = found.try_next().await? {
                    let row = self.table.row(values!(row, self.table.columns))?;
                    if !rows.give(row).await {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Target for Content {
    async fn insert(&self, rows: Vec<Row>) -> Result<(), BoxError> {
        let texts: Vec<String> = rows.into_iter().map(|row| row.text).collect();
        let list = format!("[{}]", texts.join(","));
        let (table, names) = (quoted(&self.table.name), self.table.names());
        let statement = format!(
            "insert into {table} ({names}) overriding system value
             select {names} from json_populate_recordset(null::{table}, $1::json)"
        );
        let written = self.db.write(move |tx| {
            Box::pin(async move {
                on!(tx, conn => sqlx::query(AssertSqlSafe(statement))
                    .bind(list)
                    .execute(&mut *conn)
                    .await
                    .map(|_| ()))
            })
        });
        Ok(written.await?)
    }
}

/// The last number that each table gave: a removed row's number is not given again.
struct Sequences {
    db: Db,
}

#[async_trait]
impl Side for Sequences {
    async fn read(&self, rows: &Rows) -> Result<(), BoxError> {
        let mut reader = self.db.read().await?;
        let last: Vec<(String, i64)> = match reader.conn() {
            Conn::Sqlite(conn) => {
                sqlx::query_as("select name, seq from sqlite_sequence where seq > 0 order by name")
                    .fetch_all(conn)
                    .await?
            }
            Conn::Postgres(conn) => {
                sqlx::query_as(
                    "select c.table_name::text, s.last_value from information_schema.columns c
                     join pg_sequences s on s.last_value is not null
                        and format('%I.%I', s.schemaname, s.sequencename) = pg_get_serial_sequence(
                            format('%I.%I', c.table_schema, c.table_name), c.column_name)
                     where c.table_schema = current_schema() and c.is_identity = 'YES'
                     order by c.table_name::text collate \"C\"",
                )
                .fetch_all(conn)
                .await?
            }
        };
        let moved = last
            .into_iter()
            .filter(|(table, _)| !LEFT_BEHIND.contains(&table.as_str()));
        for (table, last) in moved {
            if !rows
                .give(Row::new([Key::Text(table)], last.to_string()))
                .await
            {
                break;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Target for Sequences {
    async fn insert(&self, rows: Vec<Row>) -> Result<(), BoxError> {
        for row in rows {
            let [Key::Text(table)] = &row.key[..] else {
                return Err("a sequence without a table".into());
            };
            let (table, last): (String, i64) = (table.clone(), row.text.parse()?);
            let written = self.db.write(move |tx| {
                Box::pin(async move {
                    on!(tx, conn => sqlx::query(
                        "select setval(pg_get_serial_sequence(
                            format('%I.%I', c.table_schema, c.table_name), c.column_name), $2)
                         from information_schema.columns c
                         where c.table_schema = current_schema() and c.table_name = $1
                            and c.is_identity = 'YES'",
                    )
                    .bind(table)
                    .bind(last)
                    .execute(&mut *conn)
                    .await
                    .map(|_| ()))
                })
            });
            written.await?;
        }
        Ok(())
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
