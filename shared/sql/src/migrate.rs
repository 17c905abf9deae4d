//! Migrations: the same steps for both databases, compiled in.

use std::borrow::Cow;

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migrate, MigrationType, Migrator};

use crate::error::StoreError;

/// A step of a schema, once for each database. Steps only go forward.
///
/// Numbers below 1000 belong to the tables of the delivery, which every database has; a service
/// starts at 1001.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Its number, which gives the order.
    pub version: i64,
    /// A short name.
    pub what: &'static str,
    /// The statements for SQLite.
    pub sqlite: &'static str,
    /// The statements for PostgreSQL.
    pub postgres: &'static str,
}

/// A [`Migration`] whose text lies in `migrations/sqlite/` and `migrations/postgres/` of the crate.
#[macro_export]
macro_rules! migration {
    ($version:expr, $what:expr, $file:literal) => {
        $crate::Migration {
            version: $version,
            what: $what,
            sqlite: include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/migrations/sqlite/",
                $file
            )),
            postgres: include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/migrations/postgres/",
                $file
            )),
        }
    };
}

/// The tables of outbox, inbox and lease, of idempotency keys, and of claims.
const DELIVERY: &[Migration] = &[
    migration!(1, "delivery", "0001_delivery.sql"),
    migration!(2, "idempotency keys", "0002_idempotency.sql"),
    migration!(3, "claims", "0003_claims.sql"),
];

pub(crate) fn sqlite(own: &[Migration], with_delivery: bool) -> Migrator {
    migrator(own, with_delivery, |step| step.sqlite)
}

pub(crate) fn postgres(own: &[Migration], with_delivery: bool) -> Migrator {
    migrator(own, with_delivery, |step| step.postgres)
}

fn migrator(
    own: &[Migration],
    with_delivery: bool,
    text: fn(&Migration) -> &'static str,
) -> Migrator {
    let delivery = if with_delivery { DELIVERY } else { &[] };
    let steps = delivery.iter().chain(own).map(|step| {
        sqlx::migrate::Migration::new(
            step.version,
            Cow::Borrowed(step.what),
            MigrationType::Simple,
            text(step).into_sql_str(),
            false,
        )
    });
    Migrator::with_migrations(steps.collect())
}

/// Brings a schema up to date, or refuses one that is not.
pub(crate) async fn run(
    steps: &Migrator,
    connection: &mut impl Migrate,
    may_change: bool,
) -> Result<(), StoreError> {
    let refused = |error| StoreError::Unavailable(Box::new(error));
    if may_change {
        return steps
            .run_direct(None, connection, false)
            .await
            .map_err(refused);
    }
    let applied = connection
        .list_applied_migrations(&steps.table_name)
        .await
        .map_err(refused)?;
    let is_applied = |step: &sqlx::migrate::Migration| {
        applied
            .iter()
            .any(|done| done.version == step.version && done.checksum == step.checksum)
    };
    if steps.iter().all(is_applied) && applied.len() == steps.iter().count() {
        return Ok(());
    }
    Err(StoreError::unavailable(
        "its schema is of another version, and --offline changes none: start the service, which brings it up to date",
    ))
}
