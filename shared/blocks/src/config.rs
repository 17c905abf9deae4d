//! Configuration: the environment over an optional TOML file over defaults. This is the only reader
//! of the environment.
//!
//! To add a setting: a field in [`Config`], a line in `SETTINGS`, and it is in `rookery config`.

mod parts;
mod source;
mod values;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use source::Row;
pub use values::{Durability, Environment, LogFormat, Secret};

use crate::telemetry;
use source::Sources;
use values::{at_least_one, non_empty, origins, seconds, secret, switch};

/// What a process was told.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[derive(Debug, Clone)]
pub struct Config {
    /// `APP_NAME`: the name in log lines and at `/`.
    pub app_name: String,
    /// `HOST`: the address it listens on.
    pub host: String,
    /// `PORT`: 0 takes a free one.
    pub port: u16,
    /// `DATA_DIR`: where everything that must survive is kept.
    pub data_dir: PathBuf,
    /// `ENVIRONMENT`.
    pub environment: Environment,
    /// `SECRET_KEY`: encrypts the stored signing keys.
    pub secret_key: Option<Secret>,
    /// `SQLITE_DURABILITY`.
    pub sqlite_durability: Durability,
    /// `LOG_LEVEL`: a level, or directives as `info,posts=debug`.
    pub log_level: String,
    /// `LOG_FORMAT`.
    pub log_format: LogFormat,
    /// `LOGGING_ENABLED`.
    pub logging_enabled: bool,
    /// `LOG_REDACTION_ENABLED`: passwords, tokens and e-mail addresses are masked.
    pub log_redaction_enabled: bool,
    /// `METRICS_ENABLED`: `/metrics` answers.
    pub metrics_enabled: bool,
    /// `METRICS_PUBLIC`: to whoever reaches the process, not to this machine alone.
    pub metrics_public: bool,
    /// `DATABASE_URL`: the PostgreSQL server of a service that runs alone; where it is absent,
    /// `DB_HOST`, `DB_PORT`, `DB_NAME`, `DB_USER` and `DB_PASSWORD` say the same.
    pub database_url: Option<Secret>,
    /// `DATABASE_DIRECT_URL`: the same server past a pooler, for migrations and LISTEN.
    pub database_direct_url: Option<Secret>,
    /// `KAFKA_BOOTSTRAP_SERVERS`, else `KAFKA_HOST`: the brokers of services that run alone.
    pub kafka_bootstrap_servers: Option<String>,
    /// `KAFKA_GROUP_INSTANCE_ID`: the name of a replica that keeps one across restarts.
    pub kafka_group_instance_id: Option<String>,
    /// `MONGODB_URL`: the MongoDB server of posts that run alone.
    pub mongodb_url: Option<Secret>,
    /// `REDIS_URL`: the Redis server of a feed generator that runs alone; where it is absent,
    /// `REDIS_HOST` and `REDIS_PORT` say the same.
    pub redis_url: Option<Secret>,
    /// `CONSUL_HTTP_ADDR`, else `CONSUL_HOST`: the Consul agent that a service which runs alone
    /// registers with.
    pub consul_http_addr: Option<String>,
    /// `CONSUL_HTTP_TOKEN`: what that agent wants to be shown.
    pub consul_http_token: Option<Secret>,
    /// `SERVICE_ADDRESS`: where others reach a service that listens on every address.
    pub service_address: Option<String>,
    /// `AUTH_URL`: where a service that runs alone finds the keys that identities are signed with.
    pub auth_url: Option<String>,
    /// `KAFKA_ENABLE_INBOX`: processed events stay listed in `inbox_messages`.
    pub kafka_enable_inbox: bool,
    /// `ACCESS_TOKEN_SECONDS`: how long an access token is valid.
    pub access_token_lifetime: Duration,
    /// `PUBLIC_ACTIVITY_STREAM`: guests without a token may read the global stream.
    pub public_activity_stream: bool,
    /// `CORS_ALLOW_ORIGINS`: which web pages may call; `*` for all, empty for none.
    pub cors_allow_origins: Vec<String>,
    /// `BODY_LIMIT_BYTES`: the largest request body.
    pub body_limit_bytes: usize,
    /// `MAX_CONNECTIONS`: how many there may be at a time; more wait.
    pub max_connections: usize,
    /// `REQUEST_TIMEOUT_SECONDS`: after which a request is answered with 504.
    pub request_timeout: Duration,
    /// `GRACE_SECONDS`: how long a stop waits for what is under way.
    pub grace: Duration,
    rows: Vec<Row>,
}

/// Why a process can't start with what it was told.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read or is not TOML.
    #[error("could not read {path}: {reason}")]
    File {
        /// Which file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file has a key that means nothing.
    #[error("{path} has an unknown key {key:?}{}", hint.map(|known| format!(", did you mean {known:?}?")).unwrap_or_default())]
    UnknownKey {
        /// Which file.
        path: String,
        /// The key.
        key: String,
        /// The known key nearest to it.
        hint: Option<&'static str>,
    },
    /// A value is not what it must be.
    #[error("{name} is {found} (from {source_name}), expected {expected}")]
    Value {
        /// The setting.
        name: &'static str,
        /// What it said; masked when it is a secret.
        found: String,
        /// Where it said so.
        source_name: String,
        /// What it must be.
        expected: String,
    },
}

/// A setting: its name, its default, whether its value is a secret.
#[derive(Debug, Clone, Copy)]
struct Setting {
    name: &'static str,
    default: &'static str,
    secret: bool,
}

/// Every setting of this version. An empty default means that it may be absent.
const SETTINGS: &[Setting] = {
    const fn plain(name: &'static str, default: &'static str) -> Setting {
        Setting {
            name,
            default,
            secret: false,
        }
    }
    &[
        plain("APP_NAME", "rookery"),
        plain("HOST", "127.0.0.1"),
        plain("PORT", "8000"),
        plain("DATA_DIR", "./data"),
        plain("ENVIRONMENT", "development"),
        Setting {
            name: "SECRET_KEY",
            default: "",
            secret: true,
        },
        Setting {
            name: "DATABASE_URL",
            default: "",
            secret: true,
        },
        Setting {
            name: "DATABASE_DIRECT_URL",
            default: "",
            secret: true,
        },
        Setting {
            name: "MONGODB_URL",
            default: "",
            secret: true,
        },
        Setting {
            name: "REDIS_URL",
            default: "",
            secret: true,
        },
        plain("DB_HOST", ""),
        plain("DB_PORT", ""),
        plain("DB_NAME", ""),
        plain("DB_USER", ""),
        Setting {
            name: "DB_PASSWORD",
            default: "",
            secret: true,
        },
        plain("REDIS_HOST", ""),
        plain("REDIS_PORT", ""),
        plain("CONSUL_HTTP_ADDR", ""),
        plain("CONSUL_HOST", ""),
        Setting {
            name: "CONSUL_HTTP_TOKEN",
            default: "",
            secret: true,
        },
        plain("SERVICE_ADDRESS", ""),
        plain("KAFKA_BOOTSTRAP_SERVERS", ""),
        plain("KAFKA_HOST", ""),
        plain("KAFKA_GROUP_INSTANCE_ID", ""),
        plain("AUTH_URL", ""),
        plain("SQLITE_DURABILITY", "full"),
        plain("LOG_LEVEL", "info"),
        plain("LOG_FORMAT", "human"),
        plain("LOGGING_ENABLED", "true"),
        plain("LOG_REDACTION_ENABLED", "true"),
        plain("METRICS_ENABLED", "true"),
        plain("METRICS_PUBLIC", "false"),
        plain("KAFKA_ENABLE_INBOX", "true"),
        plain("ACCESS_TOKEN_SECONDS", "86400"),
        plain("PUBLIC_ACTIVITY_STREAM", "true"),
        plain("CORS_ALLOW_ORIGINS", ""),
        plain("BODY_LIMIT_BYTES", "1048576"),
        plain("MAX_CONNECTIONS", "1024"),
        plain("REQUEST_TIMEOUT_SECONDS", "30"),
        plain("GRACE_SECONDS", "10"),
    ]
};

/// The least length of a secret that is worth the name, in bytes.
const SECRET_BYTES: usize = 32;
/// How many of them must differ: a random secret of that length has twice as many.
const SECRET_DISTINCT: usize = 8;

/// A file's name and text, and variables.
type Given = (Option<(String, String)>, Vec<(String, String)>);

/// What `name` says, where it says anything.
fn given(from: &Sources, name: &'static str) -> Option<String> {
    from.optional(name).and_then(|text| non_empty(&text))
}

impl Config {
    /// Reads the environment over the file at `path` (or at `ROOKERY_CONFIG`) over the defaults. An
    /// empty variable counts as absent.
    ///
    /// # Errors
    /// When the file can't be read, has an unknown key, or any value is not what it must be; the
    /// message says which, what it was and what was expected.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let (file, environment) = Self::sources(path)?;
        Self::from_sources(file, environment)
    }

    fn sources(path: Option<&Path>) -> Result<Given, ConfigError> {
        let environment = source::environment();
        let named = environment
            .iter()
            .find(|(name, _)| name == "ROOKERY_CONFIG");
        let path = path
            .map(Path::to_owned)
            .or_else(|| named.map(|(_, path)| path.into()));
        let file = path.map(|path| source::read(&path)).transpose()?;
        Ok((file, environment))
    }

    /// Puts a file (its name and text) and variables together, as [`Config::load`] does.
    ///
    /// # Errors
    /// See [`Config::load`].
    pub fn from_sources(
        file: Option<(String, String)>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let (config, from) = Self::merge(file, environment)?;
        config.judge(&from)?;
        Ok(config)
    }

    /// The same for a process that encrypts nothing: it should not be told the secret, so it is not
    /// asked for one.
    ///
    /// # Errors
    /// See [`Config::load`].
    pub fn load_without_secret(path: Option<&Path>) -> Result<Self, ConfigError> {
        let (file, environment) = Self::sources(path)?;
        Self::merge(file, environment).map(|(config, _)| config)
    }

    fn merge(
        file: Option<(String, String)>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(Self, Sources), ConfigError> {
        let from = Sources::merge(file, environment)?;
        let config = Self {
            app_name: from.parse("APP_NAME", "a name", non_empty)?,
            host: from.parse("HOST", "an address or host name to listen on", non_empty)?,
            port: from.parse("PORT", "a port number, 0 to 65535", |text| {
                text.parse().ok()
            })?,
            data_dir: from.parse("DATA_DIR", "a folder", |text| {
                non_empty(text).map(PathBuf::from)
            })?,
            environment: from.parse("ENVIRONMENT", Environment::NAMES, Environment::parse)?,
            secret_key: from.optional("SECRET_KEY").and_then(|key| secret(&key)),
            sqlite_durability: from.parse(
                "SQLITE_DURABILITY",
                Durability::NAMES,
                Durability::parse,
            )?,
            log_level: from.parse(
                "LOG_LEVEL",
                "error, warn, info, debug, trace or off, or directives as info,posts=debug",
                |text| telemetry::is_level(text).then(|| text.to_owned()),
            )?,
            log_format: from.parse("LOG_FORMAT", LogFormat::NAMES, LogFormat::parse)?,
            logging_enabled: from.parse("LOGGING_ENABLED", values::SWITCH, switch)?,
            log_redaction_enabled: from.parse("LOG_REDACTION_ENABLED", values::SWITCH, switch)?,
            metrics_enabled: from.parse("METRICS_ENABLED", values::SWITCH, switch)?,
            metrics_public: from.parse("METRICS_PUBLIC", values::SWITCH, switch)?,
            database_url: from.optional("DATABASE_URL").and_then(|url| secret(&url)),
            database_direct_url: from
                .optional("DATABASE_DIRECT_URL")
                .and_then(|url| secret(&url)),
            mongodb_url: from.optional("MONGODB_URL").and_then(|url| secret(&url)),
            redis_url: from.optional("REDIS_URL").and_then(|url| secret(&url)),
            consul_http_addr: given(&from, "CONSUL_HTTP_ADDR"),
            consul_http_token: from
                .optional("CONSUL_HTTP_TOKEN")
                .and_then(|token| secret(&token)),
            service_address: given(&from, "SERVICE_ADDRESS"),
            kafka_bootstrap_servers: given(&from, "KAFKA_BOOTSTRAP_SERVERS"),
            kafka_group_instance_id: given(&from, "KAFKA_GROUP_INSTANCE_ID"),
            auth_url: given(&from, "AUTH_URL"),
            kafka_enable_inbox: from.parse("KAFKA_ENABLE_INBOX", values::SWITCH, switch)?,
            access_token_lifetime: from.parse("ACCESS_TOKEN_SECONDS", values::SECONDS, seconds)?,
            public_activity_stream: from.parse("PUBLIC_ACTIVITY_STREAM", values::SWITCH, switch)?,
            cors_allow_origins: from.parse(
                "CORS_ALLOW_ORIGINS",
                "* or origins with commas between, each as a browser sends it: http or https, \
                 a host in lower case, a port where it is not the usual one, nothing after it",
                origins,
            )?,
            body_limit_bytes: from.parse(
                "BODY_LIMIT_BYTES",
                "a number of bytes from 1 on",
                at_least_one,
            )?,
            max_connections: from.parse(
                "MAX_CONNECTIONS",
                "a number of connections from 1 on",
                at_least_one,
            )?,
            request_timeout: from.parse("REQUEST_TIMEOUT_SECONDS", values::SECONDS, seconds)?,
            grace: from.parse("GRACE_SECONDS", values::SECONDS, seconds)?,
            rows: from.rows(),
        };
        Ok((config, from))
    }

    /// Every setting with its value and where that came from, secrets masked.
    pub fn show(&self) -> &[Row] {
        &self.rows
    }

    /// What was put together from other settings, and from which: what is said about the whole is meant
    /// for them.
    pub fn composed(&self) -> impl Iterator<Item = &Row> {
        let wholes = parts::WHOLES.iter();
        wholes.filter_map(|whole| {
            let of_parts = whole.parts.join(", ");
            let is_it = |row: &&Row| row.name == whole.name && row.source == of_parts;
            self.rows.iter().find(is_it)
        })
    }

    fn judge(&self, from: &Sources) -> Result<(), ConfigError> {
        let strong = |key: &Secret| {
            let bytes = key.expose().as_bytes();
            let distinct: BTreeSet<&u8> = bytes.iter().collect();
            bytes.len() >= SECRET_BYTES && distinct.len() >= SECRET_DISTINCT
        };
        if self.environment == Environment::Production
            && !self.secret_key.as_ref().is_some_and(strong)
        {
            return Err(from.refuse(
                "SECRET_KEY",
                "at least 32 random bytes when ENVIRONMENT is production; \
                 `openssl rand -base64 32` makes a good one",
            ));
        }
        Ok(())
    }

    /// What the process logs, and how.
    pub fn telemetry(&self) -> telemetry::Settings {
        telemetry::Settings {
            name: self.app_name.clone(),
            enabled: self.logging_enabled,
            level: self.log_level.clone(),
            json: self.log_format == LogFormat::Json,
            redacts: self.log_redaction_enabled,
        }
    }
}

impl Default for Config {
    /// The defaults alone, whatever the environment says.
    fn default() -> Self {
        Self::from_sources(None, []).expect("the defaults are valid: a test loads them")
    }
}

#[cfg(test)]
mod tests;
