//! `rookery config`, `rookery routes` and `rookery services`.

use blocks::config::{Config, Row};
use events::Topic;
use service::Definition;

use super::args::Overrides;
use super::say;
use super::table::{Table, or_dash};
use crate::roster::{self, ROSTER};

/// The source of values that the command line sets.
const COMMAND_LINE: &str = "command line";

/// Prints the settings in force.
pub(super) fn show(config: &Config, overrides: &Overrides) -> anyhow::Result<()> {
    let mut table = Table::new(["SETTING", "VALUE", "FROM"]);
    for row in config.show() {
        let row = overrides.over(row);
        let value = Some(row.value).filter(|value| !value.is_empty());
        table.row([row.name.into_owned(), or_dash(value), row.source]);
    }
    say(table)
}

impl Overrides {
    fn over(&self, mut row: Row) -> Row {
        let said = match &*row.name {
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
    for (service, method, path, mode) in roster::routes() {
        table.row([
            service.to_owned(),
            method.to_owned(),
            path.to_owned(),
            roster::mode_name(mode).to_owned(),
        ]);
    }
    say(table)
}

/// Prints the services of this version.
pub(super) fn services(json: bool) -> anyhow::Result<()> {
    if json {
        let all: Vec<serde_json::Value> = ROSTER.iter().map(|of| service(of)).collect();
        return say(serde_json::to_string_pretty(&all)?);
    }
    let mut table = Table::new(["SERVICE", "STATE", "PUBLISHES", "READS", "ABOUT"]);
    for of in ROSTER {
        table.row([
            of.name.to_owned(),
            of.store.name().to_owned(),
            or_dash(listed(of.publishes.iter().copied())),
            or_dash(listed(of.consumes.iter().map(|topic| topic.name))),
            of.about.to_owned(),
        ]);
    }
    say(table)
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let names: Vec<&str> = names.collect();
    Some(names.join(", ")).filter(|text| !text.is_empty())
}

fn service(of: &Definition) -> serde_json::Value {
    let topics = |of: &[Topic]| of.iter().map(|topic| topic.name).collect::<Vec<_>>();
    serde_json::json!({
        "name": of.name,
        "about": of.about,
        "store": of.store.name(),
        "publishes": of.publishes,
        "topics": topics(of.topics),
        "consumes": topics(of.consumes),
        "settings": of.settings.iter().map(|setting| setting.name()).collect::<Vec<_>>(),
    })
}
