//! The settings of a service that runs alone: the addresses of its servers, and its own.

use blocks::config::{Parts, Said, Secret, Setting, Settings, WrongPart, is_strong};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The Kafka brokers.
pub const KAFKA_BOOTSTRAP_SERVERS: Setting<Option<String>> = Setting {
    parts: Some(&Parts {
        names: &["KAFKA_HOST"],
        compose: |said| Ok(said("KAFKA_HOST")),
    }),
    ..Setting::text(
        "KAFKA_BOOTSTRAP_SERVERS",
        "the Kafka brokers, as `127.0.0.1:9092`",
    )
};
/// The first part of the names of all consumer groups.
pub const KAFKA_CONSUMER_GROUP: Setting<Option<String>> = Setting::text(
    "KAFKA_CONSUMER_GROUP",
    "stands before the name of every consumer group, as `site-a` in `site-a-notification`",
);
/// The name of a replica that keeps one across restarts.
pub const KAFKA_GROUP_INSTANCE_ID: Setting<Option<String>> = Setting::text(
    "KAFKA_GROUP_INSTANCE_ID",
    "the name of this replica, where it keeps one across restarts",
);
/// The way to the brokers, by the names that Kafka's own clients have for it.
pub const KAFKA_SECURITY_PROTOCOL: Setting<&'static str> = Setting::new(
    "KAFKA_SECURITY_PROTOCOL",
    "PLAINTEXT",
    "the way to the brokers: `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`",
    "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL",
    |text| one_of(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"], text),
);
/// How the password is shown: the names of RFC 4616 and RFC 5802, with the hashes that Kafka has.
pub const KAFKA_SASL_MECHANISM: Setting<&'static str> = Setting::new(
    "KAFKA_SASL_MECHANISM",
    "SCRAM-SHA-512",
    "how the password is shown: `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`",
    "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512",
    |text| one_of(&["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"], text),
);
/// The user.
pub const KAFKA_SASL_USERNAME: Setting<Option<String>> =
    Setting::text("KAFKA_SASL_USERNAME", "who this process is to the brokers");
/// That user's password.
pub const KAFKA_SASL_PASSWORD: Setting<Option<Secret>> = Setting::secret(
    "KAFKA_SASL_PASSWORD",
    "the password of `KAFKA_SASL_USERNAME`",
);
/// The authorities that brokers' certificates may come from.
pub const KAFKA_SSL_CA_LOCATION: Setting<Option<String>> = Setting::text(
    "KAFKA_SSL_CA_LOCATION",
    "who signed the brokers' certificates: a file in PEM; else whom the system trusts",
);
/// The certificate of this process.
pub const KAFKA_SSL_CERTIFICATE_LOCATION: Setting<Option<String>> = Setting::text(
    "KAFKA_SSL_CERTIFICATE_LOCATION",
    "a certificate to show to the brokers: a file in PEM",
);
/// The key of that certificate.
pub const KAFKA_SSL_KEY_LOCATION: Setting<Option<String>> = Setting::text(
    "KAFKA_SSL_KEY_LOCATION",
    "the key of that certificate: a file in PEM",
);
/// The password of that key.
pub const KAFKA_SSL_KEY_PASSWORD: Setting<Option<Secret>> =
    Setting::secret("KAFKA_SSL_KEY_PASSWORD", "the password of that key");
/// The auth service, which has the public keys of identities.
pub const AUTH_URL: Setting<Option<String>> = Setting::text(
    "AUTH_URL",
    "where auth is, for the keys that identities are signed with, as `http://127.0.0.1:8001`",
);
/// The Consul agent to register with.
pub const CONSUL_HTTP_ADDR: Setting<Option<String>> = Setting {
    parts: Some(&Parts {
        names: &["CONSUL_HOST"],
        compose: |said| Ok(said("CONSUL_HOST")),
    }),
    ..Setting::text(
        "CONSUL_HTTP_ADDR",
        "the Consul agent to register with, as `127.0.0.1:8500`",
    )
};
/// The token for that agent.
pub const CONSUL_HTTP_TOKEN: Setting<Option<Secret>> =
    Setting::secret("CONSUL_HTTP_TOKEN", "what that agent wants to be shown");
/// The address for others of a replica that listens on every address.
pub const SERVICE_ADDRESS: Setting<Option<String>> = Setting::text(
    "SERVICE_ADDRESS",
    "where others reach this replica, where that is neither `HOST` nor the name of the machine",
);
/// The port for operators.
pub const OPERATOR_PORT: Setting<u16> = Setting::new(
    "OPERATOR_PORT",
    "0",
    "the private port for `rookery dlq` and its like, which wants `OPERATOR_KEY`; 0: none",
    "a port number, 0 to 65535",
    |text| text.parse().ok(),
);
/// The key that signs and checks operators' requests.
pub const OPERATOR_KEY: Setting<Option<Secret>> = Setting {
    expected: "at least 32 random bytes; `openssl rand -base64 32` makes a good one",
    parse: |text| match text.len() {
        0 => Some(None),
        _ => is_strong(text).then(|| Some(Secret::new(text))),
    },
    ..Setting::secret(
        "OPERATOR_KEY",
        "what operators sign by, the same for every service and for `rookery`",
    )
};
/// The addresses at which `rookery` asks the services of a fleet.
pub const OPERATOR_SERVICES: Setting<Option<String>> = Setting::text(
    "OPERATOR_SERVICES",
    "where the services take operators, as `posts=http://127.0.0.1:8303`, several with commas",
);
const KAFKA_HOST: Setting<Option<String>> = Setting::text(
    "KAFKA_HOST",
    "the brokers, where `KAFKA_BOOTSTRAP_SERVERS` is absent",
);
const CONSUL_HOST: Setting<Option<String>> = Setting::text(
    "CONSUL_HOST",
    "the agent, where `CONSUL_HTTP_ADDR` is absent",
);

/// Of every service that runs alone.
pub const FLEET: Settings = &[
    &KAFKA_BOOTSTRAP_SERVERS,
    &KAFKA_HOST,
    &KAFKA_CONSUMER_GROUP,
    &KAFKA_GROUP_INSTANCE_ID,
    &KAFKA_SECURITY_PROTOCOL,
    &KAFKA_SASL_MECHANISM,
    &KAFKA_SASL_USERNAME,
    &KAFKA_SASL_PASSWORD,
    &KAFKA_SSL_CA_LOCATION,
    &KAFKA_SSL_CERTIFICATE_LOCATION,
    &KAFKA_SSL_KEY_LOCATION,
    &KAFKA_SSL_KEY_PASSWORD,
    &AUTH_URL,
    &CONSUL_HTTP_ADDR,
    &CONSUL_HOST,
    &CONSUL_HTTP_TOKEN,
    &SERVICE_ADDRESS,
    &OPERATOR_PORT,
    &OPERATOR_KEY,
];

/// The PostgreSQL server.
pub const DATABASE_URL: Setting<Option<Secret>> = Setting {
    parts: Some(&Parts {
        names: &["DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD"],
        compose: database_url,
    }),
    ..Setting::secret(
        "DATABASE_URL",
        "PostgreSQL, as `postgres://user:password@127.0.0.1:5432/rookery`",
    )
};
/// The same server past a pooler.
pub const DATABASE_DIRECT_URL: Setting<Option<Secret>> = Setting::secret(
    "DATABASE_DIRECT_URL",
    "the same server past a pooler, for migrations and LISTEN",
);
const DB_HOST: Setting<Option<String>> = Setting::text(
    "DB_HOST",
    "with the next four, what `DATABASE_URL` is made of where it is absent",
);
const DB_PORT: Setting<Option<String>> =
    Setting::text("DB_PORT", "the port at `DB_HOST`, else 5432");
const DB_NAME: Setting<Option<String>> =
    Setting::text("DB_NAME", "the database at `DB_HOST`, else rookery");
const DB_USER: Setting<Option<String>> =
    Setting::text("DB_USER", "the user at `DB_HOST`, else postgres");
const DB_PASSWORD: Setting<Option<Secret>> =
    Setting::secret("DB_PASSWORD", "the password at `DB_HOST`, else none");

/// Of a service that keeps its state in PostgreSQL.
pub const POSTGRES: Settings = &[
    &DATABASE_URL,
    &DATABASE_DIRECT_URL,
    &DB_HOST,
    &DB_PORT,
    &DB_NAME,
    &DB_USER,
    &DB_PASSWORD,
];

/// The MongoDB server.
pub const MONGODB_URL: Setting<Option<Secret>> = Setting::secret(
    "MONGODB_URL",
    "MongoDB, as `mongodb://user:password@127.0.0.1:27017/rookery`",
);

/// Of a service that keeps its state in MongoDB.
pub const MONGO: Settings = &[&MONGODB_URL];

/// The Redis server.
pub const REDIS_URL: Setting<Option<Secret>> = Setting {
    parts: Some(&Parts {
        names: &["REDIS_HOST", "REDIS_PORT"],
        compose: |said| {
            let server = server(said, "REDIS_HOST", "REDIS_PORT", 6379)?;
            Ok(server.map(|server| format!("redis://{server}")))
        },
    }),
    ..Setting::secret(
        "REDIS_URL",
        "Redis, as `redis://user:password@127.0.0.1:6379`, or `rediss://` over TLS; behind Sentinel \
         `redis+sentinel://user:password@one:26379,two:26379/mymaster`",
    )
};
const REDIS_HOST: Setting<Option<String>> = Setting::text(
    "REDIS_HOST",
    "with `REDIS_PORT`, what `REDIS_URL` is made of where it is absent",
);
const REDIS_PORT: Setting<Option<String>> =
    Setting::text("REDIS_PORT", "the port at `REDIS_HOST`, else 6379");

/// Of a service that keeps its state in Redis.
pub const REDIS: Settings = &[&REDIS_URL, &REDIS_HOST, &REDIS_PORT];

/// The one of `names` that `text` is, in any case.
fn one_of(names: &[&'static str], text: &str) -> Option<&'static str> {
    let mut names = names.iter();
    names.find(|name| name.eq_ignore_ascii_case(text)).copied()
}

/// All but what RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// `text` as a part of a URL.
pub fn encoded(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

fn database_url(said: &Said<'_>) -> Result<Option<String>, WrongPart> {
    let Some(server) = server(said, "DB_HOST", "DB_PORT", 5432)? else {
        return Ok(None);
    };
    let escaped = |name| Some(encoded(&said(name)?));
    let user = escaped("DB_USER").unwrap_or_else(|| "postgres".into());
    let password = escaped("DB_PASSWORD").map(|password| format!(":{password}"));
    let password = password.unwrap_or_default();
    let name = escaped("DB_NAME").unwrap_or_else(|| "rookery".into());
    Ok(Some(format!("postgres://{user}{password}@{server}/{name}")))
}

/// A server's host and port as they stand in a URL; `None` where no host is named.
fn server(
    said: &Said<'_>,
    host_name: &'static str,
    port_name: &'static str,
    usual_port: u16,
) -> Result<Option<String>, WrongPart> {
    let Some(mut host) = said(host_name) else {
        return Ok(None);
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if host.parse::<std::net::Ipv6Addr>().is_ok() {
        host = format!("[{host}]");
    } else if !host.bytes().all(is_name) {
        return Err((host_name, "a host name or an address, without a port"));
    }
    // In Kubernetes a variable of this name may have the URL of a service instead.
    let port = said(port_name).map_or(Some(usual_port), |port| port.parse().ok());
    let port = port.filter(|port| *port > 0);
    let port = port.ok_or((port_name, "a port number, 1 to 65535"))?;
    Ok(Some(format!("{host}:{port}")))
}

#[cfg(test)]
mod tests;
