//! Addresses that are given in parts, as older set-ups do: `DB_HOST` and its like are taken where
//! `DATABASE_URL` is absent.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::ConfigError;
use super::source::Sources;

/// All but what RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A setting that may be said in parts.
pub(super) struct Whole {
    pub(super) name: &'static str,
    pub(super) parts: &'static [&'static str],
    compose: fn(&Sources) -> Result<Option<String>, ConfigError>,
}

/// All of them. The first part is the one without which the others say nothing.
pub(super) const WHOLES: [Whole; 4] = [
    Whole {
        name: "KAFKA_BOOTSTRAP_SERVERS",
        parts: &["KAFKA_HOST"],
        compose: |from| Ok(from.said("KAFKA_HOST")),
    },
    Whole {
        name: "CONSUL_HTTP_ADDR",
        parts: &["CONSUL_HOST"],
        compose: |from| Ok(from.said("CONSUL_HOST")),
    },
    Whole {
        name: "DATABASE_URL",
        parts: &["DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD"],
        compose: database,
    },
    Whole {
        name: "REDIS_URL",
        parts: &["REDIS_HOST", "REDIS_PORT"],
        compose: redis,
    },
];

impl Whole {
    /// The whole, where its parts name a server.
    pub(super) fn compose(&self, from: &Sources) -> Result<Option<String>, ConfigError> {
        (self.compose)(from)
    }
}

fn database(from: &Sources) -> Result<Option<String>, ConfigError> {
    let Some(host) = host(from, "DB_HOST")? else {
        return Ok(None);
    };
    let port = port(from, "DB_PORT", 5432)?;
    let or = |name, usual: &str| escaped(&from.said(name).unwrap_or_else(|| usual.to_owned()));
    let (user, name) = (or("DB_USER", "postgres"), or("DB_NAME", "rookery"));
    let password = from.said("DB_PASSWORD");
    let password = password.map(|password| format!(":{}", escaped(&password)));
    let password = password.unwrap_or_default();
    Ok(Some(format!(
        "postgres://{user}{password}@{host}:{port}/{name}"
    )))
}

fn redis(from: &Sources) -> Result<Option<String>, ConfigError> {
    let Some(host) = host(from, "REDIS_HOST")? else {
        return Ok(None);
    };
    let port = port(from, "REDIS_PORT", 6379)?;
    Ok(Some(format!("redis://{host}:{port}")))
}

/// A host name or an address, as it stands in a URL.
fn host(from: &Sources, name: &'static str) -> Result<Option<String>, ConfigError> {
    let Some(host) = from.said(name) else {
        return Ok(None);
    };
    if host.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok(Some(format!("[{host}]")));
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if host.bytes().all(is_name) {
        return Ok(Some(host));
    }
    Err(from.refuse(name, "a host name or an address, without a port"))
}

/// Under this name Kubernetes says something else: where it is reached, as a URL.
fn port(from: &Sources, name: &'static str, usual: u16) -> Result<u16, ConfigError> {
    let Some(text) = from.said(name) else {
        return Ok(usual);
    };
    let port = text.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| from.refuse(name, "a port number, 1 to 65535"))
}

/// Whatever stands in it, it is one piece of a URL.
fn escaped(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}
