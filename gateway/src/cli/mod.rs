//! The command line: what it takes, and how each command ends.

mod admin;
mod args;
mod client;
mod config;
mod dlq;
mod events;
mod feed;
mod outbox;
mod table;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use blocks::config::Config;
use blocks::telemetry;

pub use args::Cli;
use args::{Command, Overrides};
use client::Server;

/// Does what was asked for.
///
/// # Errors
/// Why it could not; [`exit`] says so to the user.
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    let mut config = Config::load(cli.overrides.config.as_deref())?;
    cli.overrides.apply(&mut config);
    let command = match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => return crate::serve::serve(&config).await,
        Command::Config => return config::show(&config, &cli.overrides),
        Command::Routes => return config::routes(),
        other => other,
    };
    let _telemetry = telemetry::init_quiet(&config)?;
    if let Command::Events(args::Events::Tail(tail)) = command {
        return events::tail(&config, tail).await;
    }
    let password = match &command {
        Command::Admin(args::Admin::Create(new)) => Some(admin::password(new.password_stdin)?),
        _ => None,
    };
    let server = Server::reach(&config).await?;
    let done = match command {
        Command::Events(args::Events::Topics { json }) => events::topics(&server, json).await,
        Command::Outbox(outbox) => outbox::run(&server, outbox).await,
        Command::Dlq(dlq) => dlq::run(&server, dlq).await,
        Command::Feed(args::Feed::Rebuild) => feed::rebuild(&server).await,
        Command::Admin(args::Admin::Create(new)) => {
            admin::create(&server, new, password.unwrap_or_default()).await
        }
        Command::Serve
        | Command::Config
        | Command::Routes
        | Command::Events(args::Events::Tail(_)) => {
            unreachable!("these were done above")
        }
    };
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
