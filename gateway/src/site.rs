//! Every service, open at one place.

use std::sync::Arc;

use anyhow::Context;
use blocks::Service;
use blocks::config::Config;
use blocks::gateway::Authenticator;
use futures::future::{join_all, try_join_all};
use runtime::DataDir;
use service::{Definition, Opened, Place};

use crate::roster::ROSTER;

/// The services of this process.
pub struct Site {
    /// In the order of the roster.
    pub opened: Vec<Opened>,
}

impl Site {
    /// Opens all services at `place`.
    ///
    /// # Errors
    /// When one can't be opened, with its name.
    pub async fn open(place: &dyn Place) -> anyhow::Result<Self> {
        let opening = ROSTER.iter().map(|of| open(of, place));
        let opened = try_join_all(opening).await?;
        Ok(Self { opened })
    }

    /// Opens those that can be opened, and says why the others can't: for operators.
    pub async fn open_some(place: &dyn Place) -> (Self, Vec<anyhow::Error>) {
        let opening = ROSTER.iter().map(|of| open(of, place));
        let mut opened = Vec::new();
        let mut failed = Vec::new();
        for outcome in join_all(opening).await {
            match outcome {
                Ok(service) => opened.push(service),
                Err(error) => failed.push(error),
            }
        }
        (Self { opened }, failed)
    }

    /// The authenticator of the one service that identifies callers.
    ///
    /// # Errors
    /// When no service does.
    pub fn authenticator(&self) -> anyhow::Result<Arc<dyn Authenticator>> {
        let mut identities = self.opened.iter().filter_map(|of| of.identity.as_ref());
        let identity = identities.next();
        let identity = identity.context("no service of the roster tells whose a request is")?;
        Ok(Arc::clone(&identity.authenticator))
    }

    /// The services alone, for running them.
    pub fn services(self) -> Vec<Service> {
        self.opened.into_iter().map(|of| of.service).collect()
    }
}

/// Takes the data folder, which must be there and nobody else's. `which` ends the hint where it is not.
///
/// # Errors
/// When it is not there, or can't be taken.
pub fn folder(config: &Config, which: &str) -> anyhow::Result<DataDir> {
    let folder = &config.data_dir;
    anyhow::ensure!(
        folder.join("log.db").is_file(),
        "there is no data in {}; DATA_DIR (or --data-dir) names the folder {which}",
        folder.display()
    );
    Ok(DataDir::lock(folder)?)
}

async fn open(of: &Definition, place: &dyn Place) -> anyhow::Result<Opened> {
    let opened = of.open(place).await;
    opened.with_context(|| format!("could not open {}", of.name))
}
