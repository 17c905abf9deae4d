//! Posts alone: over MongoDB and Kafka, any number of replicas.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use blocks::error::chain;
use posts::domain::Limits;
use posts::store::mongo::{Mongo, Settings, servers_of};
use posts::{NAME, Posts};
use runtime::fleet::Alone;

const SETTINGS: &str = "\
  MONGODB_URL               MongoDB, as mongodb://user:password@127.0.0.1:27017/rookery";

fn main() -> ExitCode {
    let alone = Alone::new(NAME, "Who wrote what.", SETTINGS);
    alone.run(async |fleet| {
        let url = fleet.config().mongodb_url.as_ref().context(
            "MONGODB_URL is not set: it names the MongoDB server, as mongodb://127.0.0.1:27017/rookery",
        )?;
        let servers = servers_of(url.expose()).map_err(|error| {
            anyhow::anyhow!(
                "MONGODB_URL can't be used: {}: expected mongodb://user:password@host:27017/rookery",
                chain(&*error)
            )
        })?;
        let what = format!("MongoDB at {servers} (MONGODB_URL)");
        let mongo = fleet
            .wait_for("database", what, || async {
                let settings = Settings {
                    service: NAME,
                    clock: Arc::clone(fleet.clock()),
                    keep_inbox: fleet.config().kafka_enable_inbox,
                };
                Ok(Mongo::connect(url.expose(), settings).await?)
            })
            .await;
        let closing = mongo.clone();
        fleet.closes(move || Box::pin(async move { closing.close().await }));
        Ok(posts::service(&Posts::open_mongo(mongo, Limits::DEFAULT)).into())
    })
}
