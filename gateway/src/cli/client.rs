//! The way to the admin API: through the socket of a running server, or in this process, over a data
//! folder or the stores of a fleet.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use axum::body::Body;
use blocks::SystemClock;
use blocks::config::Config;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use runtime::{DataDir, Embedded, FolderError, Stores, folder, topics};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::admin::{Admin, Applier, socket};
#[cfg(feature = "fleet")]
use crate::fleet::Reached;
use crate::site::Site;

/// How long a server may take to open its socket, or another command to be done.
const PATIENCE: Duration = Duration::from_secs(5);
const ASK_AGAIN: Duration = Duration::from_millis(20);
/// How often is looked for a server that is away.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The largest answer that is read as a whole.
const LARGEST: usize = 64 << 20;

/// Whoever answers.
pub(super) enum Server {
    /// A server that runs.
    Running { socket: PathBuf, tasks: TaskTracker },
    /// This process: no server has the folder.
    Here {
        api: Router,
        embedded: Arc<Embedded>,
    },
    /// This process, over the stores of a fleet whose services run on their own.
    #[cfg(feature = "fleet")]
    Fleet { api: Router, fleet: Reached },
}

/// Whether the configuration names a fleet, rather than a folder.
pub(super) fn is_fleet(config: &Config) -> bool {
    config.kafka_bootstrap_servers.is_some()
}

impl Server {
    /// Reaches the fleet that the configuration names; otherwise finds the server of the data folder, or
    /// opens the folder where none runs.
    pub(super) async fn reach(config: &Config) -> anyhow::Result<Self> {
        if is_fleet(config) {
            #[cfg(feature = "fleet")]
            return Self::reach_fleet(config).await;
            #[cfg(not(feature = "fleet"))]
            bail!(
                "KAFKA_BOOTSTRAP_SERVERS names a fleet, and this executable was built without what \
                 reaches one: cargo build -p gateway --features fleet"
            );
        }
        if !config.data_dir.is_dir() {
            bail!(
                "there is no data folder {}; DATA_DIR (or --data-dir) names the one of your server",
                config.data_dir.display()
            );
        }
        let end = Instant::now() + PATIENCE;
        loop {
            let taken = match DataDir::lock(&config.data_dir) {
                Ok(folder) => return Self::open(config, folder).await,
                Err(taken @ FolderError::InUse { .. }) => taken,
                Err(other) => return Err(other.into()),
            };
            let socket = folder::socket(&config.data_dir);
            if socket::connect(&socket).await.is_ok() {
                return Ok(Self::Running {
                    socket,
                    tasks: TaskTracker::new(),
                });
            }
            if Instant::now() >= end {
                return Err(taken).context(
                    "who has the folder does not answer: it is starting, stopping, or another command",
                );
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    #[cfg(feature = "fleet")]
    async fn reach_fleet(config: &Config) -> anyhow::Result<Self> {
        let fleet = Reached::open(config).await?;
        let api = fleet.api();
        Ok(Self::Fleet { api, fleet })
    }

    async fn open(config: &Config, folder: DataDir) -> anyhow::Result<Self> {
        let embedded = Arc::new(Embedded::open(config, folder, Arc::new(SystemClock)).await?);
        let site = Site::open(config, &embedded).await?;
        topics::create(&*embedded.bus(), &site.services).await?;
        let admin = Admin::new(&site, &embedded, Applier::Here, CancellationToken::new());
        Ok(Self::Here {
            api: admin.router(),
            embedded,
        })
    }

    /// Whether a server runs.
    pub(super) fn is_running(&self) -> bool {
        !matches!(self, Self::Here { .. })
    }

    /// Waits until there is a server to reach again.
    pub(super) async fn wait_for(config: &Config) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let socket = folder::socket(&config.data_dir);
            if is_fleet(config) || socket::connect(&socket).await.is_ok() {
                return;
            }
        }
    }

    /// Lets go of the folder, or of the fleet.
    pub(super) async fn close(self) {
        match self {
            Self::Running { .. } => {}
            Self::Here { embedded, .. } => embedded.close().await,
            #[cfg(feature = "fleet")]
            Self::Fleet { fleet, .. } => fleet.close().await,
        }
    }

    /// What is there.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        whole(self.send(Method::GET, path, None::<&()>).await?).await
    }

    /// Has something done.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        whole(self.send(Method::POST, path, Some(body)).await?).await
    }

    /// What comes line by line.
    pub(super) async fn lines(&self, method: Method, path: &str) -> anyhow::Result<Lines> {
        let response = self.send(method, path, None::<&()>).await?;
        Ok(Lines {
            body: response.into_body(),
            read: Vec::new(),
        })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> anyhow::Result<Response<Body>> {
        let body = match body {
            Some(body) => serde_json::to_vec(body)?,
            None => Vec::new(),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "rookery")
            .body(Body::from(body))?;
        request
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let response = match self {
            Self::Here { api, .. } => api.clone().oneshot(request).await?,
            #[cfg(feature = "fleet")]
            Self::Fleet { api, .. } => api.clone().oneshot(request).await?,
            Self::Running { socket, tasks } => over(socket, tasks, request).await?,
        };
        if response.status().is_success() {
            return Ok(response);
        }
        bail!(refusal(response).await)
    }
}

async fn over(
    socket: &Path,
    tasks: &TaskTracker,
    request: Request<Body>,
) -> anyhow::Result<Response<Body>> {
    let stream = socket::connect(socket)
        .await
        .context("the server does not answer")?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .context("the server does not answer")?;
    // What goes wrong with the connection is seen by whoever reads the answer.
    tasks.spawn(async move { drop(connection.await) });
    let response = sender
        .send_request(request)
        .await
        .context("the server did not answer")?;
    Ok(response.map(Body::new))
}

async fn whole<T: DeserializeOwned>(response: Response<Body>) -> anyhow::Result<T> {
    let bytes = axum::body::to_bytes(response.into_body(), LARGEST)
        .await
        .context("the answer was cut off")?;
    serde_json::from_slice(&bytes)
        .context("the answer can't be read: is the server another version?")
}

/// What a problem says, field by field where it names some.
async fn refusal(response: Response<Body>) -> String {
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), LARGEST).await;
    let problem: serde_json::Value = bytes
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let fields: Vec<String> = problem["errors"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(field, messages)| {
            let messages = messages.as_array().into_iter().flatten();
            let messages: Vec<&str> = messages.filter_map(serde_json::Value::as_str).collect();
            format!("{field} {}", messages.join(" and "))
        })
        .collect();
    if !fields.is_empty() {
        return fields.join("; ");
    }
    match problem["detail"].as_str() {
        Some(detail) => detail.to_owned(),
        None => format!("the server answered {status}"),
    }
}

/// An answer that comes line by line.
pub(super) struct Lines {
    body: Body,
    read: Vec<u8>,
}

impl Lines {
    /// The next line; `None` at the end.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> anyhow::Result<Option<T>> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            let frame = frame.context("the answer was cut off")?;
            let data: Bytes = frame.into_data().unwrap_or_default();
            self.read.extend_from_slice(&data);
        }
    }
}

/// All but what RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// `text` as a part of a path or a query.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}
