//! Notifications alone: over PostgreSQL and Kafka, any number of replicas.

use std::process::ExitCode;

use notification::{MIGRATIONS, NAME, Notifications};
use runtime::fleet::Alone;

const SETTINGS: &str = "\
  DATABASE_URL              PostgreSQL, as postgres://user:password@127.0.0.1:5432/rookery; or
                            DB_HOST, DB_PORT, DB_NAME, DB_USER, DB_PASSWORD
  DATABASE_DIRECT_URL       the same server past a pooler, for migrations";

fn main() -> ExitCode {
    let alone = Alone::new(
        NAME,
        "What users are told, and whether they read it.",
        SETTINGS,
    );
    alone.run(async |fleet| {
        let db = fleet.database(NAME, MIGRATIONS).await?;
        Ok(notification::service(&Notifications::open(db)).into())
    })
}
