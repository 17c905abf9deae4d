//! Logs: one line an event, with the request it belongs to, and nothing secret in it.
//!
//! A server logs to stdout, human or JSON, as containers expect it. A command of the command line
//! prints its result there, so it calls [`init_quiet`]: warnings only, to stderr.

mod fields;
mod human;
mod json;
mod layer;
mod redact;
mod writer;

use std::io::{self, IsTerminal};

use anyhow::Context;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use layer::{Format, Lines};
use writer::Writer;

pub use redact::{is_secret, redact};

/// Levels of chatty dependencies, unless they are asked for by name.
const DEPENDENCIES: &str = "sqlx=warn,hyper=warn,hyper_util=warn,h2=warn,tower=warn";

/// The settings of a process's log.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name in lines that say no other.
    pub name: String,
    /// False: nothing is logged by a server.
    pub enabled: bool,
    /// A level, or directives as `info,posts=debug`.
    pub level: String,
    /// One JSON object a line; otherwise lines for people.
    pub json: bool,
    /// Passwords, tokens and e-mail addresses are masked.
    pub redacts: bool,
}

/// Writes the remaining lines when it is dropped: keep it until the end of `main`.
#[must_use = "dropping it ends logging"]
#[derive(Debug)]
pub struct Telemetry(
    #[expect(dead_code, reason = "it is kept for its drop")] Option<writer::Guard>,
);

/// Sets up logging for a server.
///
/// # Errors
/// When it is set up already, or its thread can't be started.
pub fn init(settings: &Settings) -> anyhow::Result<Telemetry> {
    if !settings.enabled {
        return Ok(Telemetry(None));
    }
    let format = if settings.json {
        Format::Json
    } else {
        Format::Human {
            colour: io::stdout().is_terminal(),
        }
    };
    start(settings, &settings.level, format, io::stdout())
}

/// Sets up logging for a command: warnings and errors, to stderr.
///
/// # Errors
/// When it is set up already, or its thread can't be started.
pub fn init_quiet(settings: &Settings) -> anyhow::Result<Telemetry> {
    let colour = io::stderr().is_terminal();
    start(settings, "warn", Format::Human { colour }, io::stderr())
}

fn start(
    settings: &Settings,
    level: &str,
    format: Format,
    to: impl io::Write + Send + 'static,
) -> anyhow::Result<Telemetry> {
    let (writer, guard) = Writer::start(to).context("could not start the log writer")?;
    let lines = Lines {
        service: settings.name.clone(),
        format,
        redacts: settings.redacts,
        writer,
    };
    let filter = filter(level).context("LOG_LEVEL can't be read")?;
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    subscriber.try_init().context("logging is set up already")?;
    Ok(Telemetry(Some(guard)))
}

fn filter(level: &str) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
    // The requested directives come last and so win over ours.
    EnvFilter::builder().parse(format!("{DEPENDENCIES},{level}"))
}

/// True if `text` is a level or a list of directives.
pub(crate) fn is_level(text: &str) -> bool {
    EnvFilter::builder().parse(text).is_ok()
}

#[cfg(test)]
pub(crate) mod tests;
