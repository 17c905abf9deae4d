//! `rookery config` and `rookery routes`.

use blocks::Mode;
use blocks::config::{Config, Row};

use super::args::Overrides;
use super::say;
use super::table::{Table, or_dash};
use crate::{site, traefik};

/// Where a value came from that was said with the command.
const COMMAND_LINE: &str = "command line";

/// Prints what is in force.
pub(super) fn show(config: &Config, overrides: &Overrides) -> anyhow::Result<()> {
    let mut table = Table::new(["SETTING", "VALUE", "FROM"]);
    for row in config.show() {
        let row = overrides.over(row.clone());
        let value = Some(row.value).filter(|value| !value.is_empty());
        table.row([row.name.to_owned(), or_dash(value), row.source]);
    }
    say(table)
}

impl Overrides {
    fn over(&self, mut row: Row) -> Row {
        let said = match row.name {
            "HOST" => self.host.clone(),
            "PORT" => self.port.map(|port| port.to_string()),
            "DATA_DIR" => self.data_dir.as_ref().map(|dir| dir.display().to_string()),
            _ => None,
        };
        if let Some(value) = said {
            row.value = value;
            COMMAND_LINE.clone_into(&mut row.source);
        }
        row
    }
}

/// Prints the gateway's table. It is the same on every server of this version.
pub(super) fn routes() -> anyhow::Result<()> {
    let mut table = Table::new(["SERVICE", "METHOD", "PATH", "MODE"]);
    for (service, method, path, mode) in site::routes() {
        table.row([
            service.to_owned(),
            method.to_owned(),
            path.to_owned(),
            mode_name(mode).to_owned(),
        ]);
    }
    say(table)
}

/// Prints the same for Traefik.
pub(super) fn traefik() -> anyhow::Result<()> {
    say(traefik::routers(site::ROUTES.iter().copied()).trim_end())
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Required => "required",
        Mode::Optional => "optional",
        Mode::Strip => "strip",
    }
}
