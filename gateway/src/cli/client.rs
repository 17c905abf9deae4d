//! The ways to the operators' API: the socket of a running server, the private port of each service of a
//! fleet, or this process itself, over stores that it opened.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use axum::body::Body;
use blocks::config::Config;
use blocks::identity::OperatorKey;
use blocks::{Clock, SystemClock};
use futures::future::join_all;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response};
use hyper_util::rt::TokioIo;
use runtime::operator::socket;
use runtime::{DataDir, FolderError, folder};
use serde::Serialize;
use serde::de::DeserializeOwned;
use service::settings::{KAFKA_BOOTSTRAP_SERVERS, OPERATOR_SERVICES};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::args::Operators as Wanted;
use super::lines::Lines;
use super::offline::Offline;
use crate::address::Address;
use crate::roster::ROSTER;

/// The longest wait for a server to open its socket, or for another command to end.
const PATIENCE: Duration = Duration::from_secs(5);
const ASK_AGAIN: Duration = Duration::from_millis(20);
/// The pause between two polls for a server that is away.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The largest answer that is read as a whole.
const LARGEST: usize = 64 << 20;

/// Everybody who answers operators here.
pub(super) struct Operators {
    endpoints: Vec<Endpoint>,
    /// The services that nobody answers for, each with the reason.
    failed: Vec<String>,
    offline: Option<Offline>,
}

/// A way to the operators' API of one service, or of all.
pub(super) struct Endpoint {
    /// The service, where it is one alone.
    service: Option<&'static str>,
    transport: Transport,
    tasks: TaskTracker,
}

enum Transport {
    Socket(PathBuf),
    Port { authority: String, key: OperatorKey },
    Here(Router),
}

/// The answers of several ways, and the errors of those that did not answer.
pub(super) struct Answers<T> {
    pub given: Vec<T>,
    failed: Vec<String>,
}

impl<T> Answers<T> {
    /// Fails where somebody did not answer, once the rest was printed.
    pub(super) fn complete(self) -> anyhow::Result<()> {
        anyhow::ensure!(self.failed.is_empty(), "{}", self.failed.join("; "));
        Ok(())
    }
}

/// Some of the ways, to be asked the same.
pub(super) struct Ways<'a> {
    endpoints: Vec<&'a Endpoint>,
    failed: &'a [String],
}

impl Ways<'_> {
    /// Gets the lists at `path`.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Answers<T> {
        self.gathered(self.endpoints.iter().map(|endpoint| endpoint.get(path)))
            .await
    }

    /// Posts `body` to `path`; the answers are lists.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Answers<T> {
        self.gathered(
            self.endpoints
                .iter()
                .map(|endpoint| endpoint.post(path, body)),
        )
        .await
    }

    async fn gathered<T>(
        &self,
        asked: impl Iterator<Item = impl Future<Output = anyhow::Result<Vec<T>>>>,
    ) -> Answers<T> {
        let mut answers = Answers {
            given: Vec::new(),
            failed: self.failed.to_vec(),
        };
        for answer in join_all(asked).await {
            match answer {
                Ok(answer) => answers.given.extend(answer),
                Err(error) => answers.failed.push(format!("{error:#}")),
            }
        }
        answers
    }
}

impl Operators {
    /// Finds who answers: the services that were named, the server of the data folder, or, where that
    /// was asked for, nobody but this process.
    pub(super) async fn reach(config: &Config, wanted: &Wanted) -> anyhow::Result<Self> {
        if wanted.offline {
            let (offline, api, failed) = Offline::open(config).await?;
            let endpoints = vec![Endpoint::new(None, Transport::Here(api))];
            return Ok(Self {
                endpoints,
                failed,
                offline: Some(offline),
            });
        }
        let addresses = addresses(config, wanted)?;
        let endpoints = if !addresses.is_empty() {
            ports(config, &addresses)?
        } else if config.get(&KAFKA_BOOTSTRAP_SERVERS).is_some() {
            bail!(
                "KAFKA_BOOTSTRAP_SERVERS names a fleet: OPERATOR_SERVICES must say where its services \
                 take operators, as posts=http://127.0.0.1:8303; --offline opens their stores instead"
            );
        } else {
            let socket = server_of(&config.data_dir).await?;
            vec![Endpoint::new(None, Transport::Socket(socket))]
        };
        Ok(Self {
            endpoints,
            failed: Vec::new(),
            offline: None,
        })
    }

    /// True if another process runs the services.
    pub(super) fn is_running(&self) -> bool {
        self.offline.is_none()
    }

    /// Waits until there is a server to reach again.
    pub(super) async fn wait_for(config: &Config, wanted: &Wanted) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let socket = folder::socket(&config.data_dir);
            let is_fleet = addresses(config, wanted).is_ok_and(|all| !all.is_empty());
            if is_fleet || socket::connect(&socket).await.is_ok() {
                return;
            }
        }
    }

    /// Closes the stores that were opened.
    pub(super) async fn close(self) {
        if let Some(offline) = self.offline {
            offline.close().await;
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> Ways<'_> {
        Ways {
            endpoints: self.endpoints.iter().collect(),
            failed: &self.failed,
        }
    }

    /// The one to the consumer group `group`; without a name all of them.
    pub(super) async fn reading(&self, group: Option<&str>) -> anyhow::Result<Ways<'_>> {
        let Some(group) = group else {
            return Ok(self.all());
        };
        let endpoints = vec![self.of_group(group).await?];
        Ok(Ways {
            endpoints,
            failed: &[],
        })
    }

    /// The one to the service `name`; without a name all of them.
    pub(super) fn serving(&self, name: Option<&str>) -> anyhow::Result<Ways<'_>> {
        let Some(name) = name else {
            return Ok(self.all());
        };
        let endpoints = vec![self.of_service(name)?];
        Ok(Ways {
            endpoints,
            failed: &[],
        })
    }

    /// The way to `service`.
    pub(super) fn of_service(&self, service: &str) -> anyhow::Result<&Endpoint> {
        let mut endpoints = self.endpoints.iter();
        let found = endpoints.find(|endpoint| endpoint.service.is_none_or(|name| name == service));
        found.with_context(|| {
            let names = self
                .endpoints
                .iter()
                .filter_map(|endpoint| endpoint.service);
            let names: Vec<&str> = names.collect();
            format!(
                "no address of {service:?} is known, only of {}",
                names.join(", ")
            )
        })
    }

    /// The way to the consumer group `group`.
    pub(super) async fn of_group(&self, group: &str) -> anyhow::Result<&Endpoint> {
        let mut known: Vec<String> = Vec::new();
        let mut failed = self.failed.clone();
        for endpoint in &self.endpoints {
            match endpoint.get::<Vec<String>>("/groups").await {
                Ok(groups) if groups.iter().any(|name| name == group) => return Ok(endpoint),
                Ok(groups) => known.extend(groups),
                Err(error) => failed.push(format!("{error:#}")),
            }
        }
        if failed.is_empty() {
            bail!(
                "there is no consumer group {group:?}; there are: {}",
                known.join(", ")
            );
        }
        bail!("{}", failed.join("; "))
    }

    /// The first way that answers: all of them know the topics.
    pub(super) async fn any(&self) -> anyhow::Result<&Endpoint> {
        let mut last = None;
        for endpoint in &self.endpoints {
            match endpoint.get::<Vec<String>>("/groups").await {
                Ok(_) => return Ok(endpoint),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("OPERATOR_SERVICES names no service")?)
    }
}

/// The addresses of the services of a fleet: those of the command line, else `OPERATOR_SERVICES`.
fn addresses(config: &Config, wanted: &Wanted) -> anyhow::Result<Vec<Address>> {
    if !wanted.services.is_empty() {
        return Ok(wanted.services.clone());
    }
    let said = config.get(&OPERATOR_SERVICES).unwrap_or_default();
    let said = said.split(',').filter(|text| !text.trim().is_empty());
    let addresses = said.map(|text| text.trim().parse::<Address>());
    let addresses: Result<Vec<Address>, String> = addresses.collect();
    addresses.map_err(|why| anyhow::anyhow!("OPERATOR_SERVICES: {why}"))
}

fn ports(config: &Config, addresses: &[Address]) -> anyhow::Result<Vec<Endpoint>> {
    let mut endpoints = Vec::new();
    for address in addresses {
        let mut roster = ROSTER.iter();
        let of = roster.find(|of| of.name == address.service);
        let of = of.with_context(|| format!("there is no service {}", address.service))?;
        let (setting, secret) = of.operator_secret(config);
        let secret = secret.with_context(|| {
            format!(
                "{setting} is not set: give it the value that {} was started with",
                of.name
            )
        })?;
        let transport = Transport::Port {
            authority: address.authority.clone(),
            key: OperatorKey::new(secret.expose(), of.name),
        };
        endpoints.push(Endpoint::new(Some(of.name), transport));
    }
    Ok(endpoints)
}

/// The socket of the server that has the folder. One that is starting is waited for.
async fn server_of(data_dir: &Path) -> anyhow::Result<PathBuf> {
    if !data_dir.is_dir() {
        bail!(
            "there is no data folder {}; DATA_DIR (or --data-dir) names the one of your server",
            data_dir.display()
        );
    }
    let end = Instant::now() + PATIENCE;
    loop {
        let taken = match DataDir::lock(data_dir) {
            Ok(_) => bail!(
                "no server runs on {}: start it, or add --offline to open the folder without one",
                data_dir.display()
            ),
            Err(taken @ FolderError::InUse { .. }) => taken,
            Err(other) => return Err(other.into()),
        };
        let socket = folder::socket(data_dir);
        if socket::connect(&socket).await.is_ok() {
            return Ok(socket);
        }
        if Instant::now() >= end {
            return Err(taken).context(
                "who has the folder does not answer: it is starting, stopping, or another command",
            );
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

impl Endpoint {
    fn new(service: Option<&'static str>, transport: Transport) -> Self {
        Self {
            service,
            transport,
            tasks: TaskTracker::new(),
        }
    }

    /// Gets the JSON at `path`.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        whole(self.send(Method::GET, path, None::<&()>).await?).await
    }

    /// Posts `body` to `path` and reads the JSON of the answer.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        whole(self.send(Method::POST, path, Some(body)).await?).await
    }

    /// Opens an answer that comes line by line.
    pub(super) async fn lines(&self, method: Method, path: &str) -> anyhow::Result<Lines> {
        let response = self.send(method, path, None::<&()>).await?;
        Ok(response.into_body().into())
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> anyhow::Result<Response<Body>> {
        let body = body.map(serde_json::to_vec).transpose()?;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "rookery")
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(body.unwrap_or_default()))?;
        let response = match &self.transport {
            Transport::Here(api) => api.clone().oneshot(request).await?,
            Transport::Socket(path) => {
                let stream = socket::connect(path).await;
                let stream = stream.context("the server does not answer")?;
                self.over(stream, request).await?
            }
            Transport::Port { authority, key } => {
                let bearer = format!("Bearer {}", key.assertion(SystemClock.now()));
                let bearer = HeaderValue::from_str(&bearer)?;
                request.headers_mut().insert(AUTHORIZATION, bearer);
                let who = || {
                    format!(
                        "{} does not answer at {authority}",
                        self.service.unwrap_or_default()
                    )
                };
                let stream = timeout(PATIENCE, TcpStream::connect(authority)).await;
                let stream = stream.with_context(who)?.with_context(who)?;
                self.over(stream, request).await?
            }
        };
        if response.status().is_success() {
            return Ok(response);
        }
        bail!(refusal(response).await)
    }

    async fn over(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        request: Request<Body>,
    ) -> anyhow::Result<Response<Body>> {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .context("the server does not answer")?;
        // Whoever reads the answer sees an error of the connection.
        self.tasks.spawn(async move { drop(connection.await) });
        let response = sender
            .send_request(request)
            .await
            .context("the server did not answer")?;
        Ok(response.map(Body::new))
    }
}

async fn whole<T: DeserializeOwned>(response: Response<Body>) -> anyhow::Result<T> {
    let bytes = axum::body::to_bytes(response.into_body(), LARGEST)
        .await
        .context("the answer was cut off")?;
    serde_json::from_slice(&bytes)
        .context("the answer can't be read: is the server another version?")
}

/// The message of a problem, field by field where it names some.
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
