//! Lists and tables in files that are otherwise written by hand.

use blocks::Mode;
use blocks::config::{AnySetting, PROCESS, Settings};
use http_client::external_api;
use service::settings::FLEET;
use service::{Definition, Store};
use utoipa::openapi::path::Operation;
use utoipa::openapi::{OpenApi, PathItem};

use super::between::Block;
use super::templates::{of_brokers, passed};
use crate::roster::{ROSTER, mode_name, routes};

/// `deploy/services`: a line a service, its name, its servers, that with its state first, and the secrets that must
/// be strong.
pub(super) fn services() -> String {
    let line = |of: &Definition| {
        let keys = of.settings.iter().filter(|setting| setting.is_strong());
        let servers = of.servers().map(Store::name).collect::<Vec<_>>().join(",");
        let words = [of.name, &servers].into_iter();
        let words = words.chain(keys.map(|key| key.name()));
        words.collect::<Vec<_>>().join(" ")
    };
    each(line) + "\n"
}

/// All blocks, with the documentation that endpoints are described by.
pub(super) fn blocks(openapi: &OpenApi) -> Vec<Block> {
    let block = |path, name, text| Block { path, name, text };
    let kustomization = "deploy/k8s/base/kustomization.yaml";
    let manifests = each(|of| format!("  - services/{}.yaml", of.name));
    let addresses = each(|of| format!("      - {}_URL=http://{}:8000", of.variable(), of.name));
    vec![
        block("traefik/dynamic/services.yml", "services", traefik()),
        block(kustomization, "manifests", manifests),
        block(kustomization, "addresses", addresses),
        block("deploy/k8s/base/front.yaml", "addresses", front()),
        block(".env.example", "secrets", secrets()),
        block(
            "deploy/k8s/overlays/example/secrets.env.example",
            "secrets",
            secrets(),
        ),
        block(".env.example", "settings", env_example()),
        block(".env.example", "ports", ports()),
        block("README.md", "endpoints", endpoints(openapi, |_| true)),
        block("README.md", "settings", of_one_process()),
        block("docs/fleet.md", "services", processes()),
        block("docs/fleet.md", "settings", of_the_fleet()),
        block("docs/scaling.md", "without-postgres", without_postgres()),
        block("docs/guides/http-client.md", "settings", of_an_api()),
    ]
}

fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.collect::<Vec<_>>().join("\n")
}

/// A line a service.
fn each(line: impl Fn(&Definition) -> String) -> String {
    lines(ROSTER.iter().map(|of| line(of)))
}

fn traefik() -> String {
    each(|of| {
        let (name, variable) = (of.name, of.variable());
        format!(
            "    {name}:\n      {{{{- template \"service\" (dict \"name\" \"{name}\" \"variable\" \"{variable}_URL\") }}}}"
        )
    })
}

fn front() -> String {
    let all = each(|of| format!("{0}=http://{0}:8000", of.name));
    format!("              value: \"{}\"", all.replace('\n', ","))
}

fn env_example() -> String {
    let own = ROSTER.iter().flat_map(|of| of.settings);
    let all = passed().chain(own).chain(of_brokers());
    let all = all.filter(|of| !of.is_secret() && !of.is_family());
    lines(all.map(|setting| {
        let (name, default) = (setting.name(), setting.default());
        format!("# {}\n# {name}={default}", plain(setting.about()))
    }))
}

/// The services' secrets; what may be absent is a comment.
fn secrets() -> String {
    let own = ROSTER.iter().flat_map(|of| of.settings).chain(of_brokers());
    lines(
        own.filter(|of| of.is_secret() && !of.is_family())
            .map(|setting| {
                let (name, about) = (setting.name(), plain(setting.about()));
                if setting.is_strong() {
                    format!("# {about}: openssl rand -hex 32\n{name}=")
                } else {
                    format!("# {about}\n# {name}=")
                }
            }),
    )
}

/// For a site whose PostgreSQL is not in a container: no service waits for it.
fn without_postgres() -> String {
    let of_postgres = ROSTER.iter().filter(|of| of.store == Store::Postgres);
    lines(of_postgres.map(|of| format!("  {}-service: *without", of.name)))
}

/// The text without Markdown's backquotes.
fn plain(text: &str) -> String {
    text.replace('`', "")
}

fn ports() -> String {
    let ports = (8201..).zip(ROSTER);
    lines(ports.map(|(port, of)| format!("{}_PORT={port}", of.variable())))
}

/// The endpoints of the services whose names `wanted` takes.
pub(super) fn endpoints(openapi: &OpenApi, wanted: impl Fn(&str) -> bool) -> String {
    let head = "| endpoint | token | what |\n|---|---|---|".to_owned();
    let routes = routes().filter(|(of, ..)| wanted(of));
    let rows = routes.map(|(_, method, path, mode)| {
        let token = match mode {
            Mode::Strip => "no",
            mode => mode_name(mode),
        };
        let item = openapi.paths.paths.get(path);
        let what = item.and_then(|item| operation(item, method));
        let what = what
            .and_then(|of| of.summary.as_deref())
            .unwrap_or_default()
            .replace('\n', " ");
        format!("| `{method} {path}` | {token} | {what} |")
    });
    lines([head].into_iter().chain(rows))
}

fn operation<'a>(item: &'a PathItem, method: &str) -> Option<&'a Operation> {
    let operation = match method {
        "GET" => &item.get,
        "POST" => &item.post,
        "PUT" => &item.put,
        "DELETE" => &item.delete,
        "PATCH" => &item.patch,
        _ => return None,
    };
    operation.as_ref()
}

/// The settings that one service reads itself.
pub(super) fn settings(own: Settings) -> String {
    let head = "| name | default | what |\n|---|---|---|".to_owned();
    lines([head].into_iter().chain(own.iter().map(row)))
}

/// A setting's row, open for more columns.
fn row(setting: &&dyn AnySetting) -> String {
    let default = match setting.default() {
        "" => "none".to_owned(),
        default => format!("`{default}`"),
    };
    let (name, about) = (setting.name(), setting.about());
    format!("| `{name}` | {default} | {about} |")
}

fn table<'a>(settings: impl Iterator<Item = (&'a str, &'a &'static dyn AnySetting)>) -> String {
    let head = "| name | default | what | read by |\n|---|---|---|---|".to_owned();
    let rows = settings.map(|(by, setting)| format!("{} {by} |", row(setting)));
    lines([head].into_iter().chain(rows))
}

fn of_one_process() -> String {
    let own = ROSTER
        .iter()
        .flat_map(|of| of.settings.iter().map(|setting| (of.name, setting)));
    table(
        PROCESS
            .iter()
            .map(|setting| ("every process", setting))
            .chain(own),
    )
}

external_api!(ANY = "<NAME>", "the API");

fn of_an_api() -> String {
    let settings = ANY.settings();
    table(settings.iter().map(|setting| ("whoever calls it", setting)))
}

fn of_the_fleet() -> String {
    let fleet = FLEET.iter().map(|setting| ("every service", setting));
    let stores = [
        ("services in PostgreSQL", Store::Postgres),
        ("services in MongoDB", Store::Mongo),
        ("services in Redis", Store::Redis),
    ]
    .map(|(by, store)| {
        let users = ROSTER.iter().filter(|of| of.uses.contains(&store));
        let all = [by].into_iter().chain(users.map(|of| of.name));
        (all.collect::<Vec<_>>().join(", "), store.settings())
    });
    let stores = stores
        .iter()
        .flat_map(|(by, settings)| settings.iter().map(move |setting| (&**by, setting)));
    table(fleet.chain(stores))
}

fn processes() -> String {
    let head = "| process | what it is | keeps its data in |\n|---|---|---|\n\
         | `traefik` | the way in: who may pass on which route, rate limits, TLS | – |\n\
         | `front` | health, documentation and error bodies of the fleet as a whole (`rookery front`) | – |";
    let rows = ROSTER
        .iter()
        .map(|of| format!("| `{}` | {} | {} |", of.name, of.about, kept_in(of)));
    lines([head.to_owned()].into_iter().chain(rows))
}

pub(super) fn kept_in(of: &Definition) -> String {
    match of.store {
        Store::Postgres => format!("PostgreSQL, schema `{}`", of.name),
        Store::Mongo => "MongoDB".to_owned(),
        Store::Redis => "Redis".to_owned(),
    }
}
