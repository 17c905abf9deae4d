//! The command line: what it takes, and how each command ends.

mod admin;
mod args;
mod client;
mod config;
mod dlq;
mod events;
mod feed;
mod migrate;
mod outbox;
mod table;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use blocks::config::Config;
use blocks::telemetry;

pub use args::Cli;
use args::{Admin, Command, Events, Feed, Overrides};
use client::Server;

/// Does what was asked for.
///
/// # Errors
/// Why it could not; [`exit`] says so to the user.
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    let command = cli.command.unwrap_or(Command::Serve);
    let file = cli.overrides.config.as_deref();
    let mut config = Config::load_without_secret(file)?;
    if needs_secret(&command, &config) {
        config = Config::load(file)?;
    }
    cli.overrides.apply(&mut config);
    // A server writes its log to standard output, where a command writes its result.
    let _telemetry = match command {
        Command::Serve | Command::Front { .. } => telemetry::init(&config.telemetry())?,
        _ => telemetry::init_quiet(&config.telemetry())?,
    };
    match command {
        Command::Serve => crate::serve::serve(&config).await,
        Command::Config => config::show(&config, &cli.overrides),
        Command::Routes { traefik: false } => config::routes(),
        Command::Routes { traefik: true } => config::traefik(),
        Command::Front { services } => crate::front::run(&config, &services).await,
        Command::Events(Events::Tail(tail)) => events::tail(&config, tail).await,
        Command::Events(Events::Topics { json }) => {
            with_server(&config, async |server| events::topics(server, json).await).await
        }
        Command::Outbox(outbox) => {
            with_server(&config, async |server| outbox::run(server, outbox).await).await
        }
        Command::Dlq(dlq) => with_server(&config, async |server| dlq::run(server, dlq).await).await,
        Command::Feed(Feed::Rebuild) => with_server(&config, feed::rebuild).await,
        Command::Migrate(migrate) => migrate::run(&config, migrate).await,
        Command::Admin(Admin::Create(new)) => {
            let password = admin::password(new.password_stdin)?;
            with_server(&config, async |server| {
                admin::create(server, new, password).await
            })
            .await
        }
    }
}

/// Whether `command` opens a folder, which has keys in it. Whatever encrypts nothing should not have to
/// be told the secret.
fn needs_secret(command: &Command, config: &Config) -> bool {
    match command {
        Command::Front { .. } | Command::Routes { .. } => false,
        Command::Serve | Command::Config | Command::Migrate(_) => true,
        Command::Events(_)
        | Command::Outbox(_)
        | Command::Dlq(_)
        | Command::Feed(_)
        | Command::Admin(_) => !client::is_fleet(config),
    }
}

/// Does `work` with the server of the data folder, or in its place.
async fn with_server(
    config: &Config,
    work: impl AsyncFnOnce(&Server) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let server = Server::reach(config).await?;
    let done = work(&server).await;
    server.close().await;
    done
}

/// How the process ends, with a line that says what went wrong.
pub fn exit(outcome: anyhow::Result<()>) -> ExitCode {
    let Err(error) = outcome else {
        return ExitCode::SUCCESS;
    };
    let nobody_reads = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe);
    if nobody_reads {
        // `rookery events tail … | head` has what it wanted.
        return ExitCode::SUCCESS;
    }
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

/// Prints a line of the result.
fn say(line: impl std::fmt::Display) -> anyhow::Result<()> {
    writeln!(io::stdout().lock(), "{line}").context("could not print")
}

impl Overrides {
    fn apply(&self, config: &mut Config) {
        if let Some(host) = &self.host {
            config.host.clone_from(host);
        }
        if let Some(port) = self.port {
            config.port = port;
        }
        if let Some(folder) = &self.data_dir {
            config.data_dir.clone_from(folder);
        }
    }
}
