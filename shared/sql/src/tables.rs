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
use crate::tx::Conn;
use crate::{execute, fetch_all};

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
    let content = |db: &Db, table: &Table| {
        let (db, table) = (db.clone(), table.clone());
        Box::new(Content { db, table })
    };
    let mut parts = Vec::new();
    for name in names_here(from).await? {
        if LEFT_BEHIND.contains(&name.as_str()) || name == MIGRATIONS {
            continue;
        }
        let table = table(from, name, &known).await?;
        parts.push(Part {
            name: format!("{service}.{}", table.name),
            source: content(from, &table),
            target: content(to, &table),
        });
    }
    parts.push(Part {
        name: format!("{service}: the next ids"),
        source: Box::new(Sequences(from.clone())),
        target: Box::new(Sequences(to.clone())),
    });
    for name in EMPTY_THERE {
        let table = table(from, (*name).to_owned(), &known).await?;
        parts.push(Part {
            name: format!("{service}.{name}"),
            source: Box::new(Nothing),
            target: content(to, &table),
        });
    }
    Ok(parts)
}

/// The tables of a SQLite file, in the order in which they were made.
async fn names_here(db: &Db) -> Result<Vec<String>, StoreError> {
    if db.dialect() != Dialect::Sqlite {
        return Err(StoreError::Rejected("not a SQLite file".into()));
    }
    let mut reader = db.read().await?;
    fetch_all!(reader, scalar
        "select name from sqlite_master where type = 'table' and name not like 'sqlite\\_%' escape '\\'
         order by rowid")
}

/// The columns of every table of a schema, with their types.
async fn columns_there(db: &Db) -> Result<BTreeMap<String, BTreeMap<String, String>>, StoreError> {
    if db.dialect() != Dialect::Postgres {
        return Err(StoreError::Rejected("not a PostgreSQL schema".into()));
    }
    let mut reader = db.read().await?;
    let rows: Vec<(String, String, String)> = fetch_all!(
        reader,
        "select table_name::text, column_name::text, data_type::text
         from information_schema.columns where table_schema = current_schema()"
    )?;
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
    let here: Vec<(String, i64)> = fetch_all!(reader,
        "select name, pk from pragma_table_info($1) order by cid" => &name)?;
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
        let names = self.columns.iter().map(|column| quoted(&column.name));
        names.collect::<Vec<_>>().join(", ")
    }

    fn select(&self, dialect: Dialect) -> String {
        // On PostgreSQL numbers are widened, and texts are in the order of their bytes.
        let with = |column: &Column, kind: Kind, suffix: &str| {
            let suffix = match dialect {
                Dialect::Postgres if column.kind == kind => suffix,
                _ => "",
            };
            format!("{}{suffix}", quoted(&column.name))
        };
        let columns = self.columns.iter();
        let columns: Vec<String> = columns
            .map(|column| with(column, Kind::Number, "::bigint"))
            .collect();
        let key = self.key.iter().map(|index| &self.columns[*index]);
        let order: Vec<String> = key
            .map(|column| with(column, Kind::Text, " collate \"C\""))
            .collect();
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

/// Gives the rows of a query, with their values as the columns' kinds write them.
macro_rules! give {
    ($rows:expr, $table:expr, $found:expr) => {{
        let mut found = $found;
        while let Some(row) = found.try_next().await? {
            let mut values = Vec::with_capacity($table.columns.len());
            for (index, column) in $table.columns.iter().enumerate() {
                let value = match column.kind {
                    Kind::Number => row.try_get::<Option<i64>, _>(index)?.map(Value::from),
                    Kind::Switch => row.try_get::<Option<bool>, _>(index)?.map(Value::from),
                    Kind::Text => row.try_get::<Option<String>, _>(index)?.map(Value::from),
                    Kind::Time => row
                        .try_get::<Option<DateTime<Utc>>, _>(index)?
                        .map(|time| time.to_rfc3339_opts(SecondsFormat::Micros, true).into()),
                    Kind::Date => row
                        .try_get::<Option<NaiveDate>, _>(index)?
                        .map(|date| date.to_string().into()),
                    Kind::Id => row
                        .try_get::<Option<Uuid>, _>(index)?
                        .map(|id| id.to_string().into()),
                    Kind::Bytes => row
                        .try_get::<Option<Vec<u8>>, _>(index)?
                        .map(|bytes| format!("\\x{}", hex::encode(bytes)).into()),
                };
                values.push(value.unwrap_or(Value::Null));
            }
            if !$rows.give($table.row(values)?).await {
                break;
            }
        }
    }};
}

#[async_trait]
impl Side for Content {
    async fn read(&self, rows: &Rows) -> Result<(), BoxError> {
        let query = AssertSqlSafe(self.table.select(self.db.dialect()));
        let mut reader = self.db.read().await?;
        match reader.conn() {
            Conn::Sqlite(conn) => give!(rows, self.table, sqlx::query(query).fetch(conn)),
            Conn::Postgres(conn) => give!(rows, self.table, sqlx::query(query).fetch(conn)),
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
            Box::pin(async move { execute!(tx, AssertSqlSafe(statement) => list) })
        });
        Ok(written.await?)
    }
}

/// The last number that each table gave: a removed row's number is not given again.
struct Sequences(Db);

#[async_trait]
impl Side for Sequences {
    async fn read(&self, rows: &Rows) -> Result<(), BoxError> {
        let statement = match self.0.dialect() {
            Dialect::Sqlite => "select name, seq from sqlite_sequence where seq > 0 order by name",
            Dialect::Postgres => {
                "select c.table_name::text, s.last_value from information_schema.columns c
                 join pg_sequences s on s.last_value is not null
                    and format('%I.%I', s.schemaname, s.sequencename) = pg_get_serial_sequence(
                        format('%I.%I', c.table_schema, c.table_name), c.column_name)
                 where c.table_schema = current_schema() and c.is_identity = 'YES'
                 order by c.table_name::text collate \"C\""
            }
        };
        let mut reader = self.0.read().await?;
        let last: Vec<(String, i64)> = fetch_all!(reader, statement)?;
        for (table, last) in last {
            let is_left_behind = LEFT_BEHIND.contains(&table.as_str());
            let row = Row::new([Key::Text(table)], last.to_string());
            if !is_left_behind && !rows.give(row).await {
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
            let written = self.0.write(move |tx| {
                Box::pin(async move {
                    execute!(tx,
                        "select setval(pg_get_serial_sequence(
                            format('%I.%I', c.table_schema, c.table_name), c.column_name), $2)
                         from information_schema.columns c
                         where c.table_schema = current_schema() and c.table_name = $1
                            and c.is_identity = 'YES'" => table, last)
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
