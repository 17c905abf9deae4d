//! Sentinels: servers that watch a primary and its replicas, and know which is the primary now.

use std::fmt;

use blocks::error::BoxError;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{Client, ConnectionAddr, RedisError, RedisResult, TlsCertificates, TlsMode};

use super::server::decoded;

/// Where sentinels listen.
const PORT: u16 = 26379;

/// Sentinels, and the name under which they watch a primary.
pub struct Sentinels {
    /// At least one.
    addresses: Vec<(String, u16)>,
    service: String,
    database: i64,
    /// To the primary.
    user: User,
    /// To the sentinels.
    sentinel_user: User,
    is_tls: bool,
    certificates: Option<TlsCertificates>,
}

/// Who we are; `None` is the default user, or no password.
#[derive(Default)]
struct User {
    name: Option<String>,
    password: Option<String>,
}

impl Sentinels {
    /// Reads what follows the scheme: `[user:password@]host[:port],…/SERVICE[/DATABASE]`, and the parameters
    /// `sentinel_username` and `sentinel_password`.
    pub(super) fn read(
        scheme: &str,
        text: &str,
        parameters: &[&str],
        certificates: Option<TlsCertificates>,
    ) -> Result<Self, BoxError> {
        let is_tls = match scheme {
            "redis" => false,
            "rediss" => true,
            _ => return Err("sentinels go with redis+sentinel:// or rediss+sentinel://".into()),
        };
        let (authority, path) = text.split_once('/').unwrap_or((text, ""));
        let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (name, password) = user.split_once(':').unwrap_or((user, ""));
        let (service, database) = path.split_once('/').unwrap_or((path, ""));
        if service.is_empty() {
            return Err("it names no service, as redis+sentinel://host:26379/SERVICE does".into());
        }
        let mut sentinel_user = User::default();
        for parameter in parameters {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let said = match name {
                "sentinel_username" => &mut sentinel_user.name,
                "sentinel_password" => &mut sentinel_user.password,
                _ => return Err(format!("{name} is no parameter of sentinels").into()),
            };
            *said = filled(value)?;
        }
        let wrong = "it names a sentinel without a host, or with a port that is none";
        let addresses: Option<Vec<_>> = hosts.split(',').map(address).collect();
        let database = match database {
            "" => 0,
            number => number
                .parse::<u16>()
                .map_err(|_| "it names a database that is no number")?,
        };
        let sentinels = Self {
            addresses: addresses.ok_or(wrong)?,
            service: decoded(service)?,
            database: database.into(),
            user: User {
                name: filled(name)?,
                password: filled(password)?,
            },
            sentinel_user,
            is_tls,
            certificates,
        };
        for address in &sentinels.addresses {
            sentinels.client(address)?;
        }
        Ok(sentinels)
    }

    /// A client of the primary: the first that a sentinel names and that says so itself. All sentinels are asked at
    /// once, each by a client of its own: one that is not there, or asleep, holds nobody up.
    pub(super) async fn primary(&self) -> RedisResult<Client> {
        let looks = self.addresses.iter();
        let looks =
            looks.map(|address| async move { self.client(address)?.async_get_client().await });
        let mut looks: FuturesUnordered<_> = looks.collect();
        let mut failed: Option<RedisError> = None;
        while let Some(found) = looks.next().await {
            match found {
                Ok(primary) => return Ok(primary),
                // That one is not there says less than what another answers.
                Err(error) if failed.as_ref().is_none_or(RedisError::is_io_error) => {
                    failed = Some(error);
                }
                Err(_) => {}
            }
        }
        Err(failed.expect("there is at least one sentinel"))
    }

    fn client(&self, (host, port): &(String, u16)) -> RedisResult<SentinelClient> {
        let (host, port) = (host.clone(), *port);
        let address = if self.is_tls {
            ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let primary = SentinelServerType::Master;
        let mut builder = SentinelClientBuilder::new([address], &self.service, primary)?
            .set_client_to_redis_db(self.database);
        if self.is_tls {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
        }
        if let Some(certificates) = &self.certificates {
            builder = builder
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates.clone());
        }
        if let Some(name) = &self.user.name {
            builder = builder.set_client_to_redis_username(name);
        }
        if let Some(password) = &self.user.password {
            builder = builder.set_client_to_redis_password(password);
        }
        if let Some(name) = &self.sentinel_user.name {
            builder = builder.set_client_to_sentinel_username(name);
        }
        if let Some(password) = &self.sentinel_user.password {
            builder = builder.set_client_to_sentinel_password(password);
        }
        builder.build()
    }
}

impl fmt::Display for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses = self.addresses.iter().map(|(host, port)| {
            let is_v6 = host.contains(':');
            if is_v6 {
                format!("[{host}]:{port}")
            } else {
                format!("{host}:{port}")
            }
        });
        let addresses = addresses.collect::<Vec<_>>().join(", ");
        write!(f, "{} (sentinels at {addresses})", self.service)
    }
}

fn filled(part: &str) -> Result<Option<String>, BoxError> {
    let text = decoded(part)?;
    Ok((!text.is_empty()).then_some(text))
}

/// The host and the port of `host`, `host:port`, `[v6]` or `[v6]:port`.
fn address(text: &str) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(text) => text.split_once(']')?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().ok()?,
        None if port.is_empty() => PORT,
        None => return None,
    };
    (!host.is_empty()).then(|| (host.to_owned(), port))
}
