//! `rookery serve`: everything in this process, until it is stopped.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use blocks::SystemClock;
use blocks::config::{Config, LogFormat, PROCESS};
use runtime::listen::listen;
use runtime::operator::{Operator, socket};
use runtime::{DataDir, Delivery, Embedded, FolderError, Process, Stores, signals};
use service::{Place, Role};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::roster::ROSTER;
use crate::site::Site;
use crate::{VERSION, app, banner};

/// The longest wait of a start for a command that has the folder.
const PATIENCE: Duration = Duration::from_secs(2);
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// Serves until SIGTERM or Ctrl-C.
///
/// # Errors
/// The reason why it could not start or go on.
pub async fn serve(config: &Config) -> anyhow::Result<()> {
    let tasks = TaskTracker::new();
    let stop = signals::stop(&tasks)?;
    warn_of_the_fleets_settings(config);

    let folder = own(config).await?;
    let listener = listen(config).await?;
    let address = listener.local_addr().context("could not listen")?;
    let clock = Arc::new(SystemClock);
    let embedded = Arc::new(Embedded::open(config, folder, clock, Role::Serves).await?);
    let site = Site::open(&*embedded).await?;
    let metrics = Arc::clone(embedded.metrics());
    let operators = Operator::router(&site.opened, &*embedded, stop.clone());
    let auth = site.authenticator()?;
    let mut services = site.services();
    let app = app::build(
        &mut services,
        auth,
        Some(embedded.check()),
        config,
        &metrics,
    )?;

    let socket = socket::listen(&embedded.folder().socket(), operators)?;
    say_hello(config, address, &embedded);
    embedded
        .folder()
        .announce(&address.to_string())
        .context("could not write rookery.addr")?;
    let process = Process {
        services,
        delivery: Delivery {
            bus: embedded.bus(),
            clock: Arc::clone(embedded.clock()),
            metrics,
        },
        stores: Arc::clone(&embedded) as Arc<dyn Stores>,
        beside: vec![socket],
    };
    let outcome = process.run(listener, app.router, app.limits, stop).await;
    embedded.folder().retract();
    outcome
}

/// An operator who names a server must not believe that it is used.
fn warn_of_the_fleets_settings(config: &Config) {
    let services = ROSTER.iter().flat_map(|of| of.settings);
    let read: Vec<&str> = PROCESS.iter().chain(services).map(|of| of.name()).collect();
    for row in config.show().filter(|row| row.source != "default") {
        if !read.contains(&row.setting) {
            let name = row.name;
            tracing::warn!("{name} is of a fleet, and ignored: all services run in this process");
        }
    }
}

/// Takes the data folder. It waits a little for another owner: a command ends soon, and a killed server may
/// not be gone yet.
async fn own(config: &Config) -> Result<DataDir, FolderError> {
    let end = Instant::now() + PATIENCE;
    loop {
        match DataDir::lock(&config.data_dir) {
            Err(FolderError::InUse { .. }) if Instant::now() < end => {
                tokio::time::sleep(ASK_AGAIN).await;
            }
            other => return other,
        }
    }
}

fn say_hello(config: &Config, address: SocketAddr, embedded: &Embedded) {
    let folder = embedded.folder().path();
    if config.log_format == LogFormat::Human {
        let hello = banner::text(config, address, folder);
        if let Err(error) = io::stderr().write_all(hello.as_bytes()) {
            tracing::debug!(%error, "nobody reads the greeting");
        }
    }
    tracing::info!(
        version = VERSION,
        url = banner::url(address),
        data_dir = %folder.display(),
        "listening"
    );
}
