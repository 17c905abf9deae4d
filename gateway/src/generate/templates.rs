//! Compose files and Kubernetes manifests, of the templates in `deploy/templates`.

use std::path::Path;

use anyhow::Context;
use blocks::config::{AnySetting, PROCESS};
use minijinja::value::Value;
use minijinja::{Environment, UndefinedBehavior, context};
use service::settings::FLEET;
use service::{Definition, Store};

use super::read;
use crate::roster::ROSTER;

/// The folder of the templates.
pub(super) const FOLDER: &str = "deploy/templates";

const FILES: [&str; 4] = [
    "compose.yml.j2",
    "compose.servers.yml.j2",
    "compose.profiles.yml.j2",
    "kubernetes.yaml.j2",
];

/// Each compose file, and its kind.
pub(super) const COMPOSE: [(&str, &str); 4] = [
    ("docker-compose.yml", "desk"),
    ("docker-compose.dev.yml", "dev"),
    ("docker-compose.test.yml", "test"),
    ("docker-compose.prod.yml", "prod"),
];

/// Settings that a container gets by other means, or not at all.
const NOT_PASSED: [&str; 9] = [
    "HOST",
    "PORT",
    "DATA_DIR",
    "ENVIRONMENT",
    "SQLITE_DURABILITY",
    "CORS_ALLOW_ORIGINS",
    "LOG_LEVEL",
    "LOG_FORMAT",
    "APP_NAME",
];

/// The settings of a process that are passed to containers, but for those that a file decides.
pub(super) fn passed() -> impl Iterator<Item = &'static &'static dyn AnySetting> {
    PROCESS.iter().filter(|of| !NOT_PASSED.contains(&of.name()))
}

/// What a process says to the brokers, passed to containers, too.
pub(super) fn of_brokers() -> impl Iterator<Item = &'static &'static dyn AnySetting> {
    let of = [
        "KAFKA_CONSUMER_",
        "KAFKA_SECURITY_",
        "KAFKA_SASL_",
        "KAFKA_SSL_",
    ];
    let is_one = move |name: &str| of.iter().any(|of| name.starts_with(of));
    FLEET.iter().filter(move |of| is_one(of.name()))
}

/// The templates, read.
pub(super) struct Templates(Environment<'static>);

impl Templates {
    pub fn read(root: &Path) -> anyhow::Result<Self> {
        let mut all = Environment::new();
        all.set_undefined_behavior(UndefinedBehavior::Strict);
        for name in FILES {
            let text = read(root, &format!("{FOLDER}/{name}"))?;
            all.add_template_owned(name, text)
                .with_context(|| format!("could not read {FOLDER}/{name}"))?;
        }
        Ok(Self(all))
    }

    /// The compose file that is for `file`.
    pub fn compose(&self, file: &str) -> anyhow::Result<String> {
        let services: Vec<Value> = (1..)
            .zip(ROSTER)
            .map(|(number, of)| in_compose(of, number))
            .collect();
        let process: Vec<&str> = passed().map(|of| of.name()).collect();
        let brokers: Vec<&str> = of_brokers().map(|of| of.name()).collect();
        self.render(
            "compose.yml.j2",
            context! { file, services, process, brokers },
        )
    }

    /// The manifest of `of`.
    pub fn kubernetes(&self, of: &Definition) -> anyhow::Result<String> {
        let (name, about, size) = (of.name, of.about, size(of));
        let url = of.store.url().name;
        // A URL is said whole: in parts it would be several keys of one secret.
        let own = of
            .settings
            .iter()
            .filter(|of| of.is_secret() && !of.is_family());
        let own = own.chain(of_brokers().filter(|setting| setting.is_secret()));
        let own = own.map(|setting| {
            context! { name => setting.name(), optional => !setting.is_strong() }
        });
        let mut secrets: Vec<Value> = own.collect();
        secrets.push(context! { name => url, optional => false });
        let used = of.uses.iter().map(|server| server.url().name);
        secrets.extend(used.map(|name| context! { name, optional => true }));
        if of.store == Store::Postgres {
            let direct = service::settings::DATABASE_DIRECT_URL.name;
            secrets.push(context! { name => direct, optional => true });
        }
        self.render(
            "kubernetes.yaml.j2",
            context! { name, about, size, secrets },
        )
    }

    fn render(&self, name: &str, of: Value) -> anyhow::Result<String> {
        let text = self.0.get_template(name)?.render(of);
        let text = text.with_context(|| format!("could not fill {FOLDER}/{name} in"))?;
        Ok(text + "\n")
    }
}

fn size(of: &Definition) -> Value {
    let size = of.size;
    context! {
        cpu_millis => size.cpu_millis,
        memory_mib => size.memory_mib,
        memory_limit_mib => size.memory_limit_mib,
        most_replicas => size.most_replicas,
    }
}

fn in_compose(of: &Definition, number: usize) -> Value {
    let settings = of.settings.iter().filter(|of| !of.is_family());
    let settings = settings.map(|setting| {
        context! { name => setting.name(), strong => setting.is_strong() }
    });
    context! {
        number,
        name => of.name,
        variable => of.variable(),
        about => of.about,
        servers => of.servers().map(Store::name).collect::<Vec<_>>(),
        server => match of.store {
            Store::Postgres => "postgres-db",
            Store::Mongo => "mongodb",
            Store::Redis => "read-db",
        },
        settings => settings.collect::<Vec<Value>>(),
        size => size(of),
        // A password's hash keeps a core to itself.
        cpus => if of.signs_with.is_some() { "2.0" } else { "1.0" },
    }
}
