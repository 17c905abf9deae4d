//! Registers a service with a Consul agent.
//!
//! It is registered when the process takes in requests, and checked while it runs, as an agent that
//! restarted may have forgotten it. At a stop it is removed first. Failures are logged and tried again: an
//! agent that is away never stops a service. See the agent's HTTP API,
//! <https://developer.hashicorp.com/consul/api-docs/agent/service>.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use async_trait::async_trait;
use blocks::backoff::{Backoff, Reminder};
use blocks::config::Secret;
use blocks::error::chain;
use blocks::metrics::Metrics;
use blocks::service::Background;
use http::StatusCode;
use http_client::{Auth, Client, Response, Settings};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Interval of checks that the agent still knows the service.
pub const LOOK_EVERY: Duration = Duration::from_secs(15);
/// Time that an answer of the agent may take. A stop waits no longer than this for the removal.
const PATIENCE: Duration = Duration::from_secs(2);
/// Interval at which the agent checks that the service is alive.
const CHECK_EVERY: &str = "10s";
/// Time that the service's answer may take.
const CHECK_PATIENCE: &str = "5s";
/// Time without an answer after which the agent forgets a service that was not removed.
const FORGET_AFTER: &str = "10m";
const DEFAULT_PORT: u16 = 8500;

/// The agent's address and token.
#[derive(Debug, Clone)]
pub struct Agent {
    base: String,
    token: Option<Secret>,
}

impl Agent {
    /// The agent at `address`: `host`, `host:port` or `http://host:port`; 8500 is the usual port. With
    /// an ACL token where the agent wants one.
    ///
    /// # Errors
    /// When it is none of these. The agent is asked in plain HTTP: over a network that others share it
    /// belongs on the same machine, where Consul wants its agents anyway.
    pub fn at(address: &str, token: Option<Secret>) -> anyhow::Result<Self> {
        let expected = "expected host, host:port or http://host:port";
        ensure!(
            !address.starts_with("https://"),
            "CONSUL_HTTP_ADDR: TLS to the agent is not supported, {expected}"
        );
        let rest = address.strip_prefix("http://").unwrap_or(address);
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let authority: http::uri::Authority = rest
            .parse()
            .with_context(|| format!("CONSUL_HTTP_ADDR: '{address}' is no address, {expected}"))?;
        let host = authority.host();
        let port = match authority.as_str().strip_prefix(host) {
            Some("") => Some(DEFAULT_PORT),
            _ => authority.port_u16(),
        };
        let port = port.filter(|_| !host.is_empty() && !rest.contains('@'));
        let port = port
            .with_context(|| format!("CONSUL_HTTP_ADDR: '{address}' is no address, {expected}"))?;
        Ok(Self {
            base: format!("http://{host}:{port}"),
            token,
        })
    }
}

/// A service as others find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The service's name; all replicas have the same.
    pub name: &'static str,
    /// The address of this replica for others.
    pub address: String,
    /// The port at that address.
    pub port: u16,
}

impl Registration {
    /// This replica's name, different from all others.
    fn id(&self) -> String {
        format!("{}-{}-{}", self.name, self.address, self.port)
    }

    fn body(&self) -> Value {
        let host = if self.address.contains(':') {
            format!("[{}]", self.address)
        } else {
            self.address.clone()
        };
        json!({
            "ID": self.id(),
            "Name": self.name,
            "Address": self.address,
            "Port": self.port,
            // Traefik takes no other tag that is for it: it could name a route.
            "Tags": ["rookery"],
            // Not /ready: a store that is away is away for all replicas. Clients must then get 503 with
            // Retry-After from them, not 404 because all have left at once.
            "Check": {
                "Name": "alive",
                "HTTP": format!("http://{host}:{}/health", self.port),
                "Interval": CHECK_EVERY,
                "Timeout": CHECK_PATIENCE,
                "DeregisterCriticalServiceAfter": FORGET_AFTER,
            },
        })
    }
}

/// Keeps a service registered.
pub struct Consul {
    agent: Agent,
    registration: Registration,
    client: Client,
    look_every: Duration,
}

impl Consul {
    /// Will keep `registration` with `agent`, and look after it every `look_every`.
    ///
    /// # Errors
    /// When the agent's token can't be sent.
    pub fn new(
        agent: Agent,
        registration: Registration,
        look_every: Duration,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        let token = agent.token.clone();
        let settings = Settings {
            auth: token.map_or(Auth::None, |key| Auth::ApiKey {
                header: "x-consul-token".into(),
                key,
            }),
            ..Settings::once("consul", &agent.base, PATIENCE)
        };
        Ok(Self {
            agent,
            registration,
            client: Client::new(settings, metrics).context("CONSUL_HTTP_TOKEN")?,
            look_every,
        })
    }

    async fn is_known(&self) -> anyhow::Result<bool> {
        let path = format!("/v1/agent/service/{}", self.registration.id());
        let answer = self.client.get(&path).send().await?;
        let is_known = answer.status != StatusCode::NOT_FOUND;
        if is_known {
            self.taken(answer)?;
        }
        Ok(is_known)
    }

    async fn register(&self) -> anyhow::Result<()> {
        let path = "/v1/agent/service/register?replace-existing-checks=true";
        self.taken(
            self.client
                .put(path)
                .json(&self.registration.body())
                .send()
                .await?,
        )
    }

    async fn remove(&self) -> anyhow::Result<()> {
        let path = format!("/v1/agent/service/deregister/{}", self.registration.id());
        let answer = self.client.put(&path).send().await?;
        // It was never registered, or somebody else took it off.
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        self.taken(answer)
    }

    /// An error unless the agent did what it was asked for.
    fn taken(&self, answer: Response) -> anyhow::Result<()> {
        if answer.status == StatusCode::FORBIDDEN {
            // Which right is missing, or that it does not know the token. The agent never says the token itself.
            let why: String = answer.text().chars().take(300).collect();
            let state = match self.agent.token {
                Some(_) => "refused",
                None => "not set",
            };
            bail!("CONSUL_HTTP_TOKEN is {state} ({})", why.trim());
        }
        answer.success()?;
        Ok(())
    }

    /// Registers the service unless it `was_registered` by this process and still is: an agent keeps what it knows
    /// under the token, and with the checks, of the process before.
    async fn keep(&self, was_registered: bool) -> anyhow::Result<()> {
        if !was_registered || !self.is_known().await? {
            self.register().await?;
            tracing::info!(
                agent = self.agent.base,
                id = self.registration.id(),
                "registered with Consul"
            );
        }
        Ok(())
    }
}

#[async_trait]
impl Background for Consul {
    fn name(&self) -> &'static str {
        "the registration with Consul"
    }

    async fn run(&self, stop: CancellationToken) -> anyhow::Result<()> {
        let (mut backoff, mut reminder) = (Backoff::default(), Reminder::default());
        let mut was_registered = false;
        loop {
            let kept = tokio::select! {
                kept = self.keep(was_registered) => kept,
                () = stop.cancelled() => break,
            };
            let pause = match kept {
                Ok(()) => {
                    was_registered = true;
                    backoff.reset();
                    reminder.is_over();
                    self.look_every
                }
                Err(error) => {
                    // Not at every attempt: the service itself is well.
                    let error = chain(error.as_ref());
                    if reminder.is_due(&error) {
                        tracing::warn!(
                            agent = self.agent.base,
                            error,
                            "Consul (CONSUL_HTTP_ADDR) does not take the registration, will try again"
                        );
                    }
                    backoff.pause()
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => break,
            }
        }
        match self.remove().await {
            Ok(()) => tracing::info!(id = self.registration.id(), "left Consul"),
            Err(error) => tracing::warn!(
                error = %chain(error.as_ref()),
                "could not leave Consul: it forgets the service by itself"
            ),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use axum::extract::{Path, State};
    use axum::http::HeaderMap;
    use axum::routing::{get, put};
    use axum::{Json, Router};
    use parking_lot::Mutex;
    use tokio::net::TcpListener;

    use super::*;

    /// The agent's registrations, and how often it was told.
    #[derive(Default)]
    struct Kept {
        services: BTreeMap<String, Value>,
        registered: usize,
        token: Option<String>,
    }

    type Shared = Arc<Mutex<Kept>>;

    async fn register(
        State(kept): State<Shared>,
        headers: HeaderMap,
        Json(body): Json<Value>,
    ) -> (StatusCode, &'static str) {
        let mut kept = kept.lock();
        let token = headers.get("x-consul-token");
        if kept.token.as_deref() != token.and_then(|token| token.to_str().ok()) {
            return (StatusCode::FORBIDDEN, "it lacks service:write");
        }
        kept.registered += 1;
        kept.services
            .insert(body["ID"].as_str().unwrap().to_owned(), body);
        (StatusCode::OK, "")
    }

    async fn deregister(State(kept): State<Shared>, Path(id): Path<String>) -> StatusCode {
        match kept.lock().services.remove(&id) {
            Some(_) => StatusCode::OK,
            None => StatusCode::NOT_FOUND,
        }
    }

    async fn find(State(kept): State<Shared>, Path(id): Path<String>) -> (StatusCode, Json<Value>) {
        match kept.lock().services.get(&id) {
            Some(service) => (StatusCode::OK, Json(service.clone())),
            None => (StatusCode::NOT_FOUND, Json(Value::Null)),
        }
    }

    /// An agent of the tests on a port of its own.
    async fn agent() -> (Shared, TcpListener, Router) {
        let kept = Shared::default();
        let app = Router::new()
            .route("/v1/agent/service/register", put(register))
            .route("/v1/agent/service/deregister/{id}", put(deregister))
            .route("/v1/agent/service/{id}", get(find))
            .with_state(Arc::clone(&kept));
        (kept, TcpListener::bind("127.0.0.1:0").await.unwrap(), app)
    }

    fn posts() -> Registration {
        Registration {
            name: "posts",
            address: "10.0.0.7".into(),
            port: 8003,
        }
    }

    fn start(
        agent: Agent,
    ) -> (
        CancellationToken,
        tokio::task::JoinHandle<anyhow::Result<()>>,
    ) {
        let stop = CancellationToken::new();
        let pace = Duration::from_millis(20);
        let consul = Consul::new(agent, posts(), pace, &Metrics::new()).unwrap();
        let told = stop.clone();
        let tasks = tokio_util::task::TaskTracker::new();
        (stop, tasks.spawn(async move { consul.run(told).await }))
    }

    async fn until(kept: &Shared, what: impl Fn(&Kept) -> bool) {
        for _ in 0..1000 {
            if what(&kept.lock()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("did not come about: {:?}", kept.lock().services);
    }

    #[tokio::test]
    async fn a_service_is_known_from_its_start_to_its_stop() {
        let (kept, listener, app) = agent().await;
        kept.lock().token = Some("secret".into());
        let address = listener.local_addr().unwrap().to_string();
        let serving = tokio_util::task::TaskTracker::new();
        serving.spawn(async move { axum::serve(listener, app).await });
        // Of a process that was killed, under a token that holds no more.
        let id = "posts-10.0.0.7-8003";
        kept.lock().services.insert(id.into(), json!({"ID": id}));
        let (stop, running) = start(Agent::at(&address, Some(Secret::new("secret"))).unwrap());

        until(&kept, |kept| kept.registered == 1).await;
        let service = kept.lock().services["posts-10.0.0.7-8003"].clone();
        assert_eq!(service["Name"], "posts");
        assert_eq!(
            (&service["Address"], &service["Port"]),
            (&json!("10.0.0.7"), &json!(8003))
        );
        assert_eq!(service["Check"]["HTTP"], "http://10.0.0.7:8003/health");

        // An agent that restarted without its folder is told again.
        kept.lock().services.clear();
        until(&kept, |kept| kept.services.len() == 1).await;
        assert_eq!(kept.lock().registered, 2);

        stop.cancel();
        running.await.unwrap().unwrap();
        assert_eq!(kept.lock().services.len(), 0);
    }

    #[tokio::test]
    async fn an_agent_that_is_away_or_refuses_stops_nothing_and_is_told_later() {
        let (kept, listener, app) = agent().await;
        let address = listener.local_addr().unwrap().to_string();
        // It listens and does not answer yet: the first question waits.
        let (stop, running) = start(Agent::at(&address, None).unwrap());
        kept.lock().token = Some("other".into());
        let serving = tokio_util::task::TaskTracker::new();
        serving.spawn(async move { axum::serve(listener, app).await });
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!running.is_finished());
        assert_eq!(kept.lock().services.len(), 0);
        kept.lock().token = None;
        until(&kept, |kept| kept.services.len() == 1).await;
        stop.cancel();
        running.await.unwrap().unwrap();

        // Nobody there at all: a stop is a stop.
        let (stop, running) = start(Agent::at("127.0.0.1:1", None).unwrap());
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!running.is_finished());
        stop.cancel();
        running.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_refused_token_is_named_with_what_it_lacks_and_never_shown() {
        let (kept, listener, app) = agent().await;
        kept.lock().token = Some("other".into());
        let address = listener.local_addr().unwrap().to_string();
        let serving = tokio_util::task::TaskTracker::new();
        serving.spawn(async move { axum::serve(listener, app).await });
        for (token, state) in [(None, "not set"), (Some(Secret::new("hunter2")), "refused")] {
            let agent = Agent::at(&address, token).unwrap();
            let consul = Consul::new(agent, posts(), LOOK_EVERY, &Metrics::new()).unwrap();
            let refused = consul.keep(false).await.unwrap_err();
            assert_eq!(
                chain(refused.as_ref()),
                format!("CONSUL_HTTP_TOKEN is {state} (it lacks service:write)")
            );
        }
    }

    #[test]
    fn an_address_is_read_in_the_ways_that_people_write_it() {
        let base = |address| Agent::at(address, None).map(|agent| agent.base);
        assert_eq!(base("consul").unwrap(), "http://consul:8500");
        assert_eq!(base("consul:8501").unwrap(), "http://consul:8501");
        assert_eq!(base("http://[::1]:8500/").unwrap(), "http://[::1]:8500");
        for bad in [
            "",
            "https://consul",
            "http://",
            "consul:port",
            "a b",
            "user@consul",
            "c/path",
        ] {
            let said = format!("{:#}", base(bad).unwrap_err());
            assert!(said.contains("CONSUL_HTTP_ADDR"), "{bad}: {said}");
        }
    }

    #[test]
    fn a_token_is_not_shown() {
        let agent = Agent::at("consul", Some(Secret::new("secret"))).unwrap();
        assert!(!format!("{agent:?}").contains("secret"));
    }
}
