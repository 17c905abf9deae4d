//! The documentation of all services in one, without a server.

use std::sync::Arc;

use anyhow::Context;
use blocks::SystemClock;
use blocks::config::Config;
use blocks::metrics::Metrics;
use runtime::{DataDir, Embedded, Stores};
use service::Role;
use utoipa::openapi::OpenApi;

use crate::app;
use crate::roster;
use crate::site::Site;

/// Opens all services in a temporary folder, and asks them.
pub(super) async fn document() -> anyhow::Result<OpenApi> {
    let name = format!("rookery-generate-{}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    let document = document_in(&folder).await;
    std::fs::remove_dir_all(&folder)
        .with_context(|| format!("could not remove {}", folder.display()))?;
    document
}

async fn document_in(folder: &std::path::Path) -> anyhow::Result<OpenApi> {
    // The defaults alone: what is written must not depend on whose environment it was written in.
    let config = Config::from_sources(None, [], &roster::settings())?;
    let data = DataDir::lock(folder)?;
    let embedded = Embedded::open(&config, data, Arc::new(SystemClock), Role::Serves).await?;
    let site = Site::open(&embedded).await?;
    let auth = site.authenticator()?;
    let app = app::build(&mut site.services(), auth, None, &config, &Metrics::new());
    embedded.close().await;
    Ok(app?.openapi)
}
