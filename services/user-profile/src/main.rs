//! User profiles alone: over PostgreSQL and Kafka, any number of replicas.

use std::process::ExitCode;

use runtime::fleet::Alone;
use user_profile::domain::Limits;
use user_profile::{MIGRATIONS, NAME, Profiles};

const SETTINGS: &str = "\
  DATABASE_URL              PostgreSQL, as postgres://user:password@127.0.0.1:5432/rookery; or
                            DB_HOST, DB_PORT, DB_NAME, DB_USER, DB_PASSWORD
  DATABASE_DIRECT_URL       the same server past a pooler, for migrations";

fn main() -> ExitCode {
    let alone = Alone::new(NAME, "What people say about themselves.", SETTINGS);
    alone.run(async |fleet| {
        let db = fleet.database(NAME, MIGRATIONS).await?;
        let profiles = Profiles::open(db, Limits::default());
        Ok(user_profile::service(&profiles).into())
    })
}
