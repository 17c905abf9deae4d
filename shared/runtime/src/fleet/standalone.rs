//! A service that runs alone: its command line, and its life from the first line to the last.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use blocks::config::{Config, PROCESS, help};
use blocks::gateway::Gateway;
use blocks::identity::{AssertionVerifier, ISSUER, KeySource};
use blocks::kit::Limits;
use blocks::metrics::Metrics;
use blocks::service::Background;
use blocks::{Clock, SystemClock, telemetry};
use clap::{Arg, Command, value_parser};
use kafka::KafkaCheck;
use service::settings::{AUTH_URL, CONSUL_HTTP_ADDR, CONSUL_HTTP_TOKEN, SERVICE_ADDRESS};
use service::{Definition, Place, Role};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use super::startup::StartupServer;
use super::wait::{Patience, Waits};
use super::{Fleet, RemoteKeys};
use crate::consul::{Agent, Consul, LOOK_EVERY, Registration};
use crate::front::{Front, VERSION};
use crate::listen;
use crate::operator::Operator;
use crate::operator::port::Port;
use crate::process::{Delivery, Process, Stores};
use crate::signals;

/// The executable of one service: runs it until SIGTERM or Ctrl-C.
pub fn standalone(service: &'static Definition) -> ExitCode {
    let outcome = read_command_line(service);
    let outcome = outcome.and_then(|config| crate::run(live(service, config)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn read_command_line(service: &Definition) -> anyhow::Result<Config> {
    let settings = service.alone();
    let help = help(PROCESS.iter().chain(&settings));
    let matches = Command::new(service.name)
        .about(service.about)
        .version(VERSION)
        .after_help(help)
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .help("A TOML file with settings [ROOKERY_CONFIG]")
                .value_parser(value_parser!(PathBuf)),
        )
        .get_matches();
    let file = matches.get_one::<PathBuf>("config");
    let mut config = Config::load(file.map(PathBuf::as_path), &settings)?;
    config.judge()?;
    // Log lines of several services end up in one place.
    if config.app_name == Config::default().app_name {
        service.name.clone_into(&mut config.app_name);
    }
    Ok(config)
}

async fn live(service: &'static Definition, config: Config) -> anyhow::Result<()> {
    let _telemetry = telemetry::init(&config.telemetry())?;
    crate::say_what_was_read(&config);
    let tasks = TaskTracker::new();
    let stop = signals::stop(&tasks)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let waits = Waits::default();
    let patience = Patience::ForEver(waits.clone());
    let fleet = Arc::new(Fleet::new(
        config,
        Arc::clone(&clock),
        Role::Serves,
        patience,
    )?);
    let config = fleet.config();
    let remote = config.get(&AUTH_URL);
    let metrics = Arc::clone(fleet.metrics());
    let remote = remote
        .map(|url| RemoteKeys::new(&url, &metrics))
        .transpose()?;
    if remote.is_none() && service.signs_with.is_none() {
        anyhow::bail!("AUTH_URL is not set: it names the auth service, as http://127.0.0.1:8001");
    }
    let listener = listen::listen(config).await?.into_std()?;
    let address = listener.local_addr().context("could not listen")?;
    let port = Port::bind(service, config, &clock).await?;
    let consul = consul(service.name, config, address, &metrics)?;
    tracing::info!(version = VERSION, url = %format_args!("http://{address}"), "listening");

    let listeners = [&listener].into_iter();
    let listeners = listeners.chain(port.as_ref().map(|port| &port.listener));
    let startup = StartupServer::open(service.name, listeners, config, &waits)?;
    let opened = tokio::select! {
        () = stop.cancelled() => None,
        opened = service.open(&*fleet) => Some(opened),
    };
    let Some(opened) = opened.transpose()? else {
        startup.close().await;
        return Ok(());
    };
    let api = Operator::router([&opened], &*fleet, stop.clone());
    let keys: Arc<dyn KeySource> = match (opened.identity, remote) {
        (Some(own), _) => own.keys,
        (None, Some(remote)) => Arc::new(remote),
        (None, None) => anyhow::bail!("AUTH_URL is not set, and there are no keys"),
    };
    let mut services = vec![opened.service];
    services[0]
        .checks
        .push(Arc::new(KafkaCheck(fleet.bus.clone())));
    let title = format!("Rookery: {}", service.name);
    let front = Front::of(service.name, &title, &mut services, None, config, &metrics)?;
    let verifier = AssertionVerifier::new(keys, ISSUER, Arc::clone(&clock));
    let gateway = Gateway::behind_another(front.table, Arc::new(verifier));
    let app = front.kit.wrap_with(front.router, gateway);
    let listener = TcpListener::from_std(listener).context("could not listen")?;
    let port = port.map(|port| port.serve(api)).transpose()?;
    let process = Process {
        services,
        delivery: Delivery {
            bus: fleet.bus(),
            clock,
            metrics,
        },
        stores: Arc::clone(&fleet) as Arc<dyn Stores>,
        beside: consul.into_iter().chain(port).collect(),
    };
    tracing::info!("open");
    let closing = tasks.spawn(startup.close());
    let limits = Limits::from(config);
    let outcome = process.run(listener, app, limits, stop).await;
    closing.abort();
    outcome
}

/// The registration with Consul, where an agent is named.
fn consul(
    name: &'static str,
    config: &Config,
    listens: SocketAddr,
    metrics: &Metrics,
) -> anyhow::Result<Option<Arc<dyn Background>>> {
    let Some(agent) = config.get(&CONSUL_HTTP_ADDR) else {
        return Ok(None);
    };
    let agent = Agent::at(&agent, config.get(&CONSUL_HTTP_TOKEN))?;
    let address = match config.get(&SERVICE_ADDRESS) {
        Some(address) => address,
        None if listens.ip().is_unspecified() => machine_name()?,
        None => listens.ip().to_string(),
    };
    let registration = Registration {
        name,
        address,
        port: listens.port(),
    };
    let consul = Consul::new(agent, registration, LOOK_EVERY, metrics)?;
    Ok(Some(Arc::new(consul)))
}

/// The name of this machine or container, by which others find it.
fn machine_name() -> anyhow::Result<String> {
    let name = std::fs::read_to_string("/etc/hostname").context(
        "SERVICE_ADDRESS is not set, and this machine does not say its name: CONSUL_HTTP_ADDR needs it",
    )?;
    Ok(name.trim().to_owned())
}
