//! Where a Redis is, by its URL.

use std::fmt;
use std::sync::Arc;

use blocks::error::BoxError;
use percent_encoding::percent_decode_str;
use redis::{Client, ClientTlsConfig, RedisResult, TlsCertificates};

use super::sentinels::Sentinels;

/// A server at an address, or whichever is the primary by the word of sentinels. It need not be up yet.
#[derive(Clone)]
pub enum Server {
    /// At an address.
    At(Box<Client>),
    /// The primary of a service that sentinels watch.
    Behind(Arc<Sentinels>),
}

impl Server {
    /// Reads a URL: `redis://`, `rediss://` over TLS, `redis+sentinel://` and `rediss+sentinel://`.
    ///
    /// Those over TLS also name the files in PEM that it takes, as other clients call them: `ssl_ca_certs`, and for
    /// a server that wants a certificate `ssl_certfile` and `ssl_keyfile`. Without the first it is whoever the
    /// system trusts.
    ///
    /// # Errors
    /// When the URL is malformed, or a file can't be read.
    pub fn of(url: &str) -> Result<Self, BoxError> {
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut files, mut rest) = (Files::default(), Vec::new());
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            if !files.take(parameter)? {
                rest.push(parameter);
            }
        }
        let certificates = files.certificates(address.starts_with("rediss"))?;
        if let Some((scheme, service)) = address.split_once("+sentinel://") {
            let sentinels = Sentinels::read(scheme, service, &rest, certificates)?;
            return Ok(Self::Behind(Arc::new(sentinels)));
        }
        let address = match &rest[..] {
            [] => address.to_owned(),
            rest => format!("{address}?{}", rest.join("&")),
        };
        let client = match certificates {
            Some(certificates) => Client::build_with_tls(address, certificates)?,
            None => Client::open(address)?,
        };
        Ok(Self::At(Box::new(client)))
    }

    /// A client of the server as it is now.
    ///
    /// # Errors
    /// When no sentinel names a primary that agrees.
    pub(super) async fn client(&self) -> RedisResult<Client> {
        match self {
            Self::At(client) => Ok(Client::clone(client)),
            Self::Behind(sentinels) => sentinels.primary().await,
        }
    }
}

/// Without the secrets of the URL.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(client) => client.get_connection_info().addr().fmt(f),
            Self::Behind(sentinels) => sentinels.fmt(f),
        }
    }
}

/// The files that TLS takes, read.
#[derive(Default)]
struct Files {
    authority: Option<Vec<u8>>,
    certificate: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
}

impl Files {
    /// Reads the file that a parameter names; answers false for one that names none.
    fn take(&mut self, parameter: &str) -> Result<bool, BoxError> {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let file = match name {
            "ssl_ca_certs" => &mut self.authority,
            "ssl_certfile" => &mut self.certificate,
            "ssl_keyfile" => &mut self.key,
            _ => return Ok(false),
        };
        let path = decoded(value)?;
        let read = std::fs::read(&path);
        *file = Some(read.map_err(|why| format!("{name} is {path}, which can't be read: {why}"))?);
        Ok(true)
    }

    fn certificates(self, is_tls: bool) -> Result<Option<TlsCertificates>, BoxError> {
        let Self {
            authority,
            certificate,
            key,
        } = self;
        if authority.is_none() && certificate.is_none() && key.is_none() {
            return Ok(None);
        }
        if !is_tls {
            return Err("files for TLS go with a rediss:// URL".into());
        }
        if certificate.is_some() != key.is_some() {
            return Err("ssl_certfile and ssl_keyfile go together: one is not there".into());
        }
        let own = certificate.zip(key);
        Ok(Some(TlsCertificates {
            client_tls: own.map(|(client_cert, client_key)| ClientTlsConfig {
                client_cert,
                client_key,
            }),
            root_cert: authority,
        }))
    }
}

/// A part of a URL as text.
pub(super) fn decoded(part: &str) -> Result<String, BoxError> {
    Ok(percent_decode_str(part).decode_utf8()?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a URL that is wrong.
    fn refused(url: &str) -> String {
        let said = Server::of(url).err().unwrap().to_string();
        assert!(!said.contains("hunter2"), "{said}");
        said
    }

    #[test]
    fn files_are_of_rediss_urls_and_what_is_wrong_is_said_without_the_password() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        Server::of("redis://:hunter2@db:6379/1?protocol=resp3").unwrap();
        for (url, wrong) in [
            (
                format!("redis://:hunter2@db?ssl_ca_certs={file}"),
                "rediss://",
            ),
            (
                format!("redis+sentinel://:hunter2@db/main?ssl_ca_certs={file}"),
                "rediss://",
            ),
            (
                format!("rediss://:hunter2@db?ssl_keyfile={file}"),
                "go together",
            ),
            (
                "rediss://:hunter2@db?ssl_ca_certs=/no/file".to_owned(),
                "ssl_ca_certs is /no/file",
            ),
        ] {
            let said = refused(&url);
            assert!(said.contains(wrong), "{said}");
        }
    }

    #[test]
    fn a_url_with_sentinels_names_them_their_service_and_nothing_unknown() {
        let url = "redis+sentinel://ada:hunter2@one,two:7000,[::1]:7001/main%2Fdb/3?\
                   sentinel_username=eve&sentinel_password=hunter2";
        let said = Server::of(url).unwrap().to_string();
        let sentinels = "one:26379, two:7000, [::1]:7001";
        assert_eq!(said, format!("main/db (sentinels at {sentinels})"));
        Server::of("rediss+sentinel://one/main").unwrap();
        for (url, wrong) in [
            ("redis+sentinel://:hunter2@one:26379", "no service"),
            ("redis+sentinel://:hunter2@/main", "a sentinel"),
            ("redis+sentinel://:hunter2@one,:1/main", "a sentinel"),
            ("redis+sentinel://:hunter2@one:port/main", "a sentinel"),
            ("redis+sentinel://:hunter2@[::1/main", "a sentinel"),
            ("redis+sentinel://:hunter2@one/main/first", "a database"),
            ("redis+sentinel://one/main?password=hunter2", "password"),
            ("http+sentinel://:hunter2@one/main", "redis+sentinel"),
        ] {
            let said = refused(url);
            assert!(said.contains(wrong), "{url}: {said}");
        }
    }
}
