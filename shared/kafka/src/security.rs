//! How clients and brokers prove to each other who they are, in librdkafka's words.

use std::path::PathBuf;

use blocks::config::Secret;
use rdkafka::ClientConfig;

/// The way to the brokers, and who we are there. By default: in the clear, and nobody.
#[derive(Debug, Clone, Default)]
pub struct Security {
    /// TLS, where it is wanted.
    pub tls: Option<Tls>,
    /// A name and its password, where they are wanted.
    pub sasl: Option<Sasl>,
}

/// Certificates, as files in PEM.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// The authorities that a broker's certificate may come from; those of the system if absent.
    pub ca: Option<PathBuf>,
    /// Our own certificate and its key, for brokers that want one.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The password of that key.
    pub key_password: Option<Secret>,
}

/// A name and its password (RFC 4422).
#[derive(Debug, Clone)]
pub struct Sasl {
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub mechanism: &'static str,
    /// The name.
    pub username: String,
    /// Its password.
    pub password: Secret,
}

impl Security {
    pub(crate) fn apply(&self, config: &mut ClientConfig) {
        let protocol = match (&self.tls, &self.sasl) {
            (None, None) => "PLAINTEXT",
            (Some(_), None) => "SSL",
            (None, Some(_)) => "SASL_PLAINTEXT",
            (Some(_), Some(_)) => "SASL_SSL",
        };
        config.set("security.protocol", protocol);
        if let Some(sasl) = &self.sasl {
            config
                .set("sasl.mechanism", sasl.mechanism)
                .set("sasl.username", &sasl.username)
                .set("sasl.password", sasl.password.expose());
        }
        if let Some(tls) = &self.tls {
            let mut file = |name: &str, path: &PathBuf| {
                config.set(name, path.to_string_lossy());
            };
            if let Some(ca) = &tls.ca {
                file("ssl.ca.location", ca);
            }
            if let Some((certificate, key)) = &tls.certificate {
                file("ssl.certificate.location", certificate);
                file("ssl.key.location", key);
            }
            if let Some(password) = &tls.key_password {
                config.set("ssl.key.password", password.expose());
            }
        }
    }
}
