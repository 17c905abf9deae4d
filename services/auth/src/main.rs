//! Auth alone: over PostgreSQL and Kafka, any number of replicas.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use auth::{Auth, MIGRATIONS, NAME, Settings};
use chrono::TimeDelta;
use runtime::fleet::{Alone, Ready};

const SETTINGS: &str = "\
  DATABASE_URL              PostgreSQL, as postgres://user:password@127.0.0.1:5432/rookery; or
                            DB_HOST, DB_PORT, DB_NAME, DB_USER, DB_PASSWORD
  DATABASE_DIRECT_URL       the same server past a pooler, for migrations and LISTEN
  SECRET_KEY                encrypts the stored signing keys; the same for every replica
  ACCESS_TOKEN_SECONDS      how long an access token holds [86400]
AUTH_URL is not needed here.";

fn main() -> ExitCode {
    let alone = Alone::new(NAME, "Accounts, sessions, and whose a token is.", SETTINGS);
    alone.signing().run(async |fleet| {
        let config = fleet.config();
        let secret = config
            .secret_key
            .as_ref()
            .context("SECRET_KEY is not set")?;
        let settings = Settings {
            token_ttl: TimeDelta::from_std(config.access_token_lifetime)
                .context("ACCESS_TOKEN_SECONDS is out of range")?,
            replicas: Some(fleet.direct_database_url()?.expose().to_owned()),
            ..Settings::new(secret.expose())
        };
        settings.check()?;
        let db = fleet.database(NAME, MIGRATIONS).await?;
        let auth = Auth::open(db, settings, Arc::clone(fleet.clock()))
            .await
            .context("could not start auth")?;
        Ok(Ready::with_keys(auth::service(&auth), auth.keys()))
    })
}
