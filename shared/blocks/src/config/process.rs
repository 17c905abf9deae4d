//! The settings of every process, with any services.

use std::path::PathBuf;
use std::time::Duration;

use super::setting::{Setting, Settings};
use super::values::{Durability, Environment, LogFormat, at_least_one, non_empty, origins, switch};
use super::{Unknown, Value, read};

/// Declares each setting once: as a field of [`Config`], and in [`PROCESS`].
macro_rules! settings {
    ($($(#[$doc:meta])* pub $field:ident: $of:ty = $setting:expr;)*) => {
        /// A process's configuration: its own settings as fields, those of its services by [`Config::get`].
        #[derive(Debug, Clone)]
        pub struct Config {
            $($(#[$doc])* pub $field: $of,)*
            pub(super) values: Vec<Value>,
            pub(super) unknown: Vec<Unknown>,
        }

        impl Config {
            pub(super) fn of(values: Vec<Value>, unknown: Vec<Unknown>) -> Self {
                Self { $($field: read(&values, &$setting),)* values, unknown }
            }
        }

        /// All of them.
        pub const PROCESS: Settings = &[$({
            const SETTING: Setting<$of> = $setting;
            &SETTING
        }),*];
    };
}

settings! {
    /// `HOST`.
    pub host: String = Setting::new(
        "HOST", "127.0.0.1", "the address it listens on",
        "an address or host name to listen on", non_empty,
    );
    /// `PORT`: 0 takes a free one.
    pub port: u16 = Setting::new(
        "PORT", "8000", "where it listens; 0 takes a free port and writes it to `DATA_DIR/rookery.addr`",
        "a port number, 0 to 65535", |text| text.parse().ok(),
    );
    /// `DATA_DIR`.
    pub data_dir: PathBuf = Setting::new(
        "DATA_DIR", "./data", "where everything is kept, in files that only their owner can use",
        "a folder", |text| non_empty(text).map(PathBuf::from),
    );
    /// `ENVIRONMENT`.
    pub environment: Environment = Setting::new(
        "ENVIRONMENT", "development", "`production` refuses weak and absent secrets",
        "development or production", Environment::parse,
    );
    /// `SQLITE_DURABILITY`.
    pub sqlite_durability: Durability = Setting::new(
        "SQLITE_DURABILITY", "full",
        "an acknowledged write survives a power cut; with `process` only a crash of the process, which is cheaper",
        "full (survives a power cut) or process (survives a crash of the process)", Durability::parse,
    );
    /// `CORS_ALLOW_ORIGINS`; `*` for all, empty for none.
    pub cors_allow_origins: Vec<String> = Setting::new(
        "CORS_ALLOW_ORIGINS", "", "which web pages may call: origins with commas between, or `*`",
        "* or origins with commas between, each as a browser sends it: http or https, a host in lower \
         case, a port where it is not the usual one, nothing after it", origins,
    );
    /// `BODY_LIMIT_BYTES`.
    pub body_limit_bytes: usize = Setting::new(
        "BODY_LIMIT_BYTES", "1048576", "the largest request body",
        "a number of bytes from 1 on", at_least_one,
    );
    /// `MAX_CONNECTIONS`.
    pub max_connections: usize = Setting::new(
        "MAX_CONNECTIONS", "1024", "how many there may be at a time; more wait",
        "a number of connections from 1 on", at_least_one,
    );
    /// `REQUEST_TIMEOUT_SECONDS`.
    pub request_timeout: Duration = Setting::seconds(
        "REQUEST_TIMEOUT_SECONDS", "30", "then a request is answered with 504",
    );
    /// `GRACE_SECONDS`.
    pub grace: Duration = Setting::seconds(
        "GRACE_SECONDS", "10", "how long a stop waits for what is under way",
    );
    /// `LOG_LEVEL`.
    pub log_level: String = Setting::new(
        "LOG_LEVEL", "info", "a level, or directives as `info,posts=debug`",
        "error, warn, info, debug, trace or off, or directives as info,posts=debug",
        |text| crate::telemetry::is_level(text).then(|| text.to_owned()),
    );
    /// `DEBUG`. Many programs read this variable, each its own way: what is no yes here may be meant for another.
    pub debug: bool = Setting::new(
        "DEBUG", "false", "logs at level `debug` where `LOG_LEVEL` is absent",
        "true or false; another program's value, as `app:*`, counts as false",
        |text| Some(switch(text).unwrap_or(false)),
    );
    /// `LOG_FORMAT`.
    pub log_format: LogFormat = Setting::new(
        "LOG_FORMAT", "human", "`human` or `json`", "human or json", LogFormat::parse,
    );
    /// `LOGGING_ENABLED`.
    pub logging_enabled: bool = Setting::switch("LOGGING_ENABLED", "true", "log at all");
    /// `LOG_REDACTION_ENABLED`.
    pub log_redaction_enabled: bool = Setting::switch(
        "LOG_REDACTION_ENABLED", "true", "mask passwords, tokens and e-mail addresses in the log",
    );
    /// `METRICS_ENABLED`.
    pub metrics_enabled: bool = Setting::switch("METRICS_ENABLED", "true", "`/metrics` answers");
    /// `METRICS_PUBLIC`.
    pub metrics_public: bool = Setting::switch(
        "METRICS_PUBLIC", "false",
        "`true`: to whoever reaches it; otherwise to programs on this machine that do not come through a proxy",
    );
    /// `KAFKA_ENABLE_INBOX`.
    pub kafka_enable_inbox: bool = Setting::switch(
        "KAFKA_ENABLE_INBOX", "true", "readers list what they processed in `inbox_messages`",
    );
    /// `KAFKA_ENABLE_OUTBOX`.
    pub kafka_enable_outbox: bool = Setting::switch(
        "KAFKA_ENABLE_OUTBOX", "true",
        "events are written with what they tell of; `false` publishes them directly after, and a crash between loses them",
    );
    /// `APP_NAME`.
    pub app_name: String = Setting::new(
        "APP_NAME", "rookery", "the name in log lines and at `/`", "a name", non_empty,
    );
}
