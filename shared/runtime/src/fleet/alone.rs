//! A service that runs alone: its command line, and its life from the first line to the last.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use blocks::config::Config;
use blocks::identity::{AssertionVerifier, ISSUER, KeySource};
use blocks::kit::Limits;
use blocks::metrics::Metrics;
use blocks::service::{Background, Check};
use blocks::{Clock, Service, SystemClock, telemetry};
use clap::{Arg, Command, value_parser};
use kafka::KafkaCheck;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::front::{self, VERSION};
use super::room::Room;
use super::wait::Waits;
use super::{Fleet, RemoteKeys};
use crate::consul::{Agent, Consul, Registration};
use crate::process::{Process, Stores};
use crate::signals;

/// What every service is told.
const SETTINGS: &str = "\
Settings, from the environment or the file (names in lower case there):
  HOST, PORT                where to listen [127.0.0.1, 8000]
  KAFKA_BOOTSTRAP_SERVERS   the Kafka brokers, as 127.0.0.1:9092; or KAFKA_HOST
  KAFKA_GROUP_INSTANCE_ID   the name of this replica, where it keeps one across restarts
  CONSUL_HTTP_ADDR          the Consul agent to register with, as 127.0.0.1:8500; or CONSUL_HOST [none]
  CONSUL_HTTP_TOKEN         what that agent wants to be shown
  SERVICE_ADDRESS           where others reach this replica [HOST, or the name of the machine]
  AUTH_URL                  where auth is, for the keys that identities are signed with, as http://127.0.0.1:8001
  LOG_LEVEL, LOG_FORMAT     a level or directives; human or json [info, human]
  METRICS_PUBLIC            true: /metrics answers others than this machine [false]
  GRACE_SECONDS             how long a stop waits for what is under way [10]";

/// The executable of one service.
pub struct Alone {
    name: &'static str,
    about: &'static str,
    settings: &'static str,
    signs: bool,
}

/// A service that is open over its stores.
pub struct Ready {
    service: Service,
    keys: Option<Arc<dyn KeySource>>,
}

impl From<Service> for Ready {
    /// It asks auth for the keys that identities are signed with.
    fn from(service: Service) -> Self {
        Self {
            service,
            keys: None,
        }
    }
}

impl Ready {
    /// A service that has these keys itself.
    pub fn with_keys(service: Service, keys: Arc<dyn KeySource>) -> Self {
        Self {
            service,
            keys: Some(keys),
        }
    }
}

impl Alone {
    /// The executable `name`. `settings` tells, in lines of `--help`, what it needs besides what all do.
    pub fn new(name: &'static str, about: &'static str, settings: &'static str) -> Self {
        Self {
            name,
            about,
            settings,
            signs: false,
        }
    }

    /// The one that signs identities: it needs `SECRET_KEY`, and nobody to ask for keys.
    #[must_use]
    pub fn signing(mut self) -> Self {
        self.signs = true;
        self
    }

    /// Runs the service that `open` opens, until SIGTERM or Ctrl-C.
    pub fn run(self, open: impl AsyncFnOnce(&Fleet) -> anyhow::Result<Ready>) -> ExitCode {
        let config = self.read_command_line();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("could not start");
        let outcome = config.and_then(|config| {
            let runtime = runtime?;
            let outcome = runtime.block_on(self.live(config, open));
            // What still waits for a server must not keep the process.
            runtime.shutdown_background();
            outcome
        });
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        }
    }

    fn read_command_line(&self) -> anyhow::Result<Config> {
        let matches = Command::new(self.name)
            .about(self.about)
            .version(VERSION)
            .after_help(format!("{SETTINGS}\n{}", self.settings))
            .arg(
                Arg::new("config")
                    .long("config")
                    .value_name("FILE")
                    .help("A TOML file with settings [ROOKERY_CONFIG]")
                    .value_parser(value_parser!(PathBuf)),
            )
            .get_matches();
        let file = matches.get_one::<PathBuf>("config");
        let file = file.map(PathBuf::as_path);
        let mut config = if self.signs {
            Config::load(file)?
        } else {
            Config::load_without_secret(file)?
        };
        // Log lines of several services end up in one place.
        if config.app_name == Config::default().app_name {
            self.name.clone_into(&mut config.app_name);
        }
        Ok(config)
    }

    async fn live(
        &self,
        config: Config,
        open: impl AsyncFnOnce(&Fleet) -> anyhow::Result<Ready>,
    ) -> anyhow::Result<()> {
        let _telemetry = telemetry::init(&config.telemetry())?;
        for row in config.composed() {
            tracing::info!("{} is said by {}", row.name, row.source);
        }
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(signals::stop_on_signal(stop.clone())?);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let waits = Waits::default();
        let fleet = Arc::new(Fleet::new(config, Arc::clone(&clock), waits.clone())?);
        let config = fleet.config();
        let remote = config
            .auth_url
            .as_deref()
            .map(RemoteKeys::new)
            .transpose()?;
        if self.signs {
            let secret = config.secret_key.as_ref();
            secret.context(
                "SECRET_KEY is not set: it encrypts the stored signing keys, and every replica needs \
                 the same one; `openssl rand -base64 32` makes a good one",
            )?;
        } else if remote.is_none() {
            anyhow::bail!(
                "AUTH_URL is not set: it names the auth service, as http://127.0.0.1:8001"
            );
        }
        let listener = listen(config).await?;
        let address = listener.local_addr().context("could not listen")?;
        let consul = consul(self.name, config, address)?;
        tracing::info!(version = VERSION, url = %format_args!("http://{address}"), "listening");

        let room = Room::open(self.name, &listener, config, &waits)?;
        let opened = tokio::select! {
            () = stop.cancelled() => None,
            opened = open(&fleet) => Some(opened),
        };
        let Some(Ready { mut service, keys }) = opened.transpose()? else {
            room.close().await;
            return Ok(());
        };
        let keys = match (keys, remote) {
            (Some(own), _) => own,
            (None, Some(remote)) => Arc::new(remote),
            (None, None) => anyhow::bail!("AUTH_URL is not set, and there are no keys"),
        };
        let verifier = AssertionVerifier::new(keys, ISSUER, Arc::clone(&clock));
        let events: Arc<dyn Check> = Arc::new(KafkaCheck(fleet.bus.clone()));
        let metrics = Metrics::new();
        let app = front::build(&mut service, verifier, events, config, &metrics)?;
        let limits = Limits::from(config);
        let listener = TcpListener::from_std(listener).context("could not listen")?;
        let process = Process {
            services: vec![service],
            bus: fleet.bus(),
            clock,
            metrics,
            stores: Arc::clone(&fleet) as Arc<dyn Stores>,
            beside: consul.into_iter().collect(),
        };
        tracing::info!("open");
        let closing = tasks.spawn(room.close());
        let outcome = process.run(listener, app, limits, stop).await;
        closing.abort();
        outcome
    }
}

/// The registration with Consul, where an agent is named.
fn consul(
    name: &'static str,
    config: &Config,
    listens: SocketAddr,
) -> anyhow::Result<Option<Arc<dyn Background>>> {
    let Some(agent) = &config.consul_http_addr else {
        return Ok(None);
    };
    let token = config.consul_http_token.as_ref();
    let agent = Agent::at(agent, token.map(|token| token.expose().to_owned()))?;
    let address = match &config.service_address {
        Some(address) => address.clone(),
        None if listens.ip().is_unspecified() => machine_name()?,
        None => listens.ip().to_string(),
    };
    let registration = Registration {
        name,
        address,
        port: listens.port(),
    };
    Ok(Some(Arc::new(Consul::new(agent, registration))))
}

/// The name of this machine or container, by which others find it.
fn machine_name() -> anyhow::Result<String> {
    let name = std::fs::read_to_string("/etc/hostname").context(
        "SERVICE_ADDRESS is not set, and this machine does not say its name: CONSUL_HTTP_ADDR needs it",
    )?;
    Ok(name.trim().to_owned())
}

async fn listen(config: &Config) -> anyhow::Result<std::net::TcpListener> {
    let (host, port) = (config.host.as_str(), config.port);
    let listener = TcpListener::bind((host, port)).await;
    listener
        .and_then(TcpListener::into_std)
        .with_context(|| format!("could not listen on {host} port {port} (HOST, PORT)"))
}
