//! The settings of every process, with any services.

use std::path::PathBuf;
use std::time::Duration;

use super::setting::{Setting, Settings};
use super::values::{Durability, Environment, LogFormat, at_least_one, non_empty, origins};

pub(super) const APP_NAME: Setting<String> = Setting::new(
    "APP_NAME",
    "rookery",
    "the name in log lines and at `/`",
    "a name",
    non_empty,
);
pub(super) const HOST: Setting<String> = Setting::new(
    "HOST",
    "127.0.0.1",
    "the address it listens on",
    "an address or host name to listen on",
    non_empty,
);
pub(super) const PORT: Setting<u16> = Setting::new(
    "PORT",
    "8000",
    "where it listens; 0 takes a free port and writes it to `DATA_DIR/rookery.addr`",
    "a port number, 0 to 65535",
    |text| text.parse().ok(),
);
pub(super) const DATA_DIR: Setting<PathBuf> = Setting::new(
    "DATA_DIR",
    "./data",
    "where everything is kept, in files that only their owner can use",
    "a folder",
    |text| non_empty(text).map(PathBuf::from),
);
pub(super) const ENVIRONMENT: Setting<Environment> = Setting::new(
    "ENVIRONMENT",
    "development",
    "`production` refuses weak and absent secrets",
    Environment::NAMES,
    Environment::parse,
);
pub(super) const SQLITE_DURABILITY: Setting<Durability> = Setting::new(
    "SQLITE_DURABILITY",
    "full",
    "an acknowledged write survives a power cut; with `process` only a crash of the process, which is cheaper",
    Durability::NAMES,
    Durability::parse,
);
pub(super) const LOG_LEVEL: Setting<String> = Setting::new(
    "LOG_LEVEL",
    "info",
    "a level, or directives as `info,posts=debug`",
    "error, warn, info, debug, trace or off, or directives as info,posts=debug",
    |text| crate::telemetry::is_level(text).then(|| text.to_owned()),
);
pub(super) const LOG_FORMAT: Setting<LogFormat> = Setting::new(
    "LOG_FORMAT",
    "human",
    "`human` or `json`",
    LogFormat::NAMES,
    LogFormat::parse,
);
pub(super) const LOGGING_ENABLED: Setting<bool> =
    Setting::switch("LOGGING_ENABLED", "true", "log at all");
pub(super) const LOG_REDACTION_ENABLED: Setting<bool> = Setting::switch(
    "LOG_REDACTION_ENABLED",
    "true",
    "mask passwords, tokens and e-mail addresses in the log",
);
pub(super) const METRICS_ENABLED: Setting<bool> =
    Setting::switch("METRICS_ENABLED", "true", "`/metrics` answers");
pub(super) const METRICS_PUBLIC: Setting<bool> = Setting::switch(
    "METRICS_PUBLIC",
    "false",
    "`true`: to whoever reaches it; otherwise to programs on this machine that do not come through a proxy",
);
pub(super) const CORS_ALLOW_ORIGINS: Setting<Vec<String>> = Setting::new(
    "CORS_ALLOW_ORIGINS",
    "",
    "which web pages may call: origins with commas between, or `*`",
    "* or origins with commas between, each as a browser sends it: http or https, a host in lower \
     case, a port where it is not the usual one, nothing after it",
    origins,
);
pub(super) const BODY_LIMIT_BYTES: Setting<usize> = Setting::new(
    "BODY_LIMIT_BYTES",
    "1048576",
    "the largest request body",
    "a number of bytes from 1 on",
    at_least_one,
);
pub(super) const MAX_CONNECTIONS: Setting<usize> = Setting::new(
    "MAX_CONNECTIONS",
    "1024",
    "how many there may be at a time; more wait",
    "a number of connections from 1 on",
    at_least_one,
);
pub(super) const REQUEST_TIMEOUT_SECONDS: Setting<Duration> = Setting::seconds(
    "REQUEST_TIMEOUT_SECONDS",
    "30",
    "then a request is answered with 504",
);
pub(super) const GRACE_SECONDS: Setting<Duration> = Setting::seconds(
    "GRACE_SECONDS",
    "10",
    "how long a stop waits for what is under way",
);
pub(super) const KAFKA_ENABLE_INBOX: Setting<bool> = Setting::switch(
    "KAFKA_ENABLE_INBOX",
    "true",
    "readers list what they processed in `inbox_messages`",
);

/// All of them.
pub const PROCESS: Settings = &[
    &HOST,
    &PORT,
    &DATA_DIR,
    &ENVIRONMENT,
    &SQLITE_DURABILITY,
    &CORS_ALLOW_ORIGINS,
    &BODY_LIMIT_BYTES,
    &MAX_CONNECTIONS,
    &REQUEST_TIMEOUT_SECONDS,
    &GRACE_SECONDS,
    &LOG_LEVEL,
    &LOG_FORMAT,
    &LOGGING_ENABLED,
    &LOG_REDACTION_ENABLED,
    &METRICS_ENABLED,
    &METRICS_PUBLIC,
    &KAFKA_ENABLE_INBOX,
    &APP_NAME,
];
