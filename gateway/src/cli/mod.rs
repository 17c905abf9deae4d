//! The command line: its arguments, and the end of each command.

mod accounts;
mod args;
mod client;
mod config;
mod dlq;
mod events;
mod feed;
mod keys;
mod lines;
mod mail;
mod migrate;
mod offline;
mod outbox;
mod password;
mod table;
mod users;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use blocks::Role;
use blocks::config::Config;
use blocks::telemetry;

pub use args::Cli;
use args::{Admin, Command, Create, Events, Feed, Overrides, RoleName, Users};

use crate::roster;
use client::Operators;
use runtime::operator::view::Reset;

/// Runs the command.
///
/// # Errors
/// The reason why it failed; [`exit`] prints it.
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    let command = cli.command.unwrap_or(Command::Serve);
    let file = cli.overrides.config.as_deref();
    let mut config = Config::load(file, &roster::settings())?;
    if let Command::Serve | Command::Config | Command::Migrate { .. } = command {
        config.judge()?;
    }
    cli.overrides.apply(&mut config);
    // A server writes its log to standard output, where a command writes its result.
    let _telemetry = match command {
        Command::Serve | Command::Front { .. } => telemetry::init(&config.telemetry())?,
        _ => telemetry::init_quiet(&config.telemetry())?,
    };
    runtime::say_what_was_read(&config);
    let wanted = &cli.operators;
    match command {
        Command::Serve => crate::serve::serve(&config).await,
        Command::Config => config::show(&config, &cli.overrides),
        Command::Routes => config::routes(),
        Command::Services { json } => config::services(json),
        Command::Generate { check, root } => {
            for path in crate::generate::run(&root, check).await? {
                say(format!("changed {path}"))?;
            }
            Ok(())
        }
        Command::Front { services } => crate::front::run(&config, &services).await,
        Command::Mail(mail) => mail::run(&config, mail).await,
        Command::Events(Events::Tail(tail)) => events::tail(&config, wanted, tail).await,
        Command::Migrate { dry_run } => migrate::run(&config, dry_run).await,
        command => {
            let password = match &command {
                Command::Users(Users::Create { invite: true, .. }) => String::new(),
                Command::Admin(Admin::Create(Create { password_stdin, .. }))
                | Command::Users(
                    Users::Create { password_stdin, .. }
                    | Users::SetPassword { password_stdin, .. },
                ) => password::read(*password_stdin)?,
                _ => String::new(),
            };
            let operators = Operators::reach(&config, wanted).await?;
            let done = ask(&operators, command, password).await;
            operators.close().await;
            done
        }
    }
}

/// Does a command that asks the services.
async fn ask(operators: &Operators, command: Command, password: String) -> anyhow::Result<()> {
    match command {
        Command::Events(Events::Topics { json }) => events::topics(operators, json).await,
        Command::Events(Events::Reset {
            group,
            topic,
            execute,
        }) => events::reset(operators, &group, &Reset { topic, execute }).await,
        Command::Outbox(outbox) => outbox::run(operators, outbox).await,
        Command::Dlq(dlq) => dlq::run(operators, dlq).await,
        Command::Feed(Feed::Rebuild) => feed::rebuild(operators).await,
        Command::Admin(Admin::Create(new)) => {
            let new = Users::Create {
                email: new.email,
                username: Some(new.username),
                role: RoleName(Role::Admin),
                password_stdin: new.password_stdin,
                invite: false,
            };
            users::run(operators, new, password).await
        }
        Command::Users(command) => users::run(operators, command, password).await,
        Command::Keys(command) => keys::run(operators, command).await,
        Command::Erasure(command) => users::erasure(operators, command).await,
        other => anyhow::bail!("{other:?} asks nobody"),
    }
}

/// The exit code of the process. Prints the error.
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
