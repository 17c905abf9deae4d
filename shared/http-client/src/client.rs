//! A client of one API.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use blocks::metrics::{HttpClientMetrics, Metrics};
use http::{HeaderName, HeaderValue, Method};
use reqwest::Url;
use reqwest::redirect::Policy;

use crate::auth::{Auth, Credentials};
use crate::breaker::{Breaker, Circuit};
use crate::error::SettingsError;
use crate::exchange::Wire;
use crate::request::RequestBuilder;
use crate::retry::{Budget, Retry};
use crate::tls;

pub(crate) const CONSUMER_ID: HeaderName = HeaderName::from_static("x-consumer-id");

const USER_AGENT: &str = concat!("rookery/", env!("CARGO_PKG_VERSION"));
/// A connection that nobody uses is closed after this time: before most servers close theirs.
const KEPT_FOR: Duration = Duration::from_secs(30);

/// What a client is made of. Written as `Settings { auth, .., ..Settings::new(name, url) }`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The API's name in metrics, log lines and errors.
    pub name: String,
    /// Where it is: `https://api.example.com/v1`. Paths of requests are added to it.
    pub base_url: String,
    /// How the client shows who it is.
    pub auth: Auth,
    /// `X-Consumer-Id`; not sent where it is absent.
    pub consumer_id: Option<String>,
    /// The longest wait for a connection, TLS included.
    pub connect_timeout: Duration,
    /// The longest time in which nothing comes.
    pub idle_timeout: Duration,
    /// The longest time of a call with all its tries and pauses.
    pub timeout: Duration,
    /// What is tried again.
    pub retry: Retry,
    /// The circuit breaker, where there is one.
    pub breaker: Option<Breaker>,
    /// Size limit of an answer's body.
    pub max_bytes: usize,
    /// The most redirects that a GET or HEAD follows, to the same scheme, host and port alone.
    pub redirects: u32,
    /// A PEM file of authorities that are trusted besides the usual ones.
    pub ca_file: Option<PathBuf>,
}

impl Settings {
    /// A client of the API `name` at `base_url`, with what suits most.
    pub fn new(name: impl Into<String>, base_url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            base_url: base_url.into(),
            auth: Auth::None,
            consumer_id: None,
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(30),
            retry: Retry::default(),
            breaker: Some(Breaker::default()),
            max_bytes: 10 << 20,
            redirects: 0,
            ca_file: None,
        }
    }

    /// A client that asks once, without a circuit breaker: for callers that ask again by themselves.
    pub fn once(name: impl Into<String>, base_url: impl Into<String>, timeout: Duration) -> Self {
        Self {
            timeout,
            retry: Retry::NEVER,
            breaker: None,
            ..Self::new(name, base_url)
        }
    }
}

/// A client of one API: its connections, its credentials, its circuit breaker. Cheap to clone; all clones
/// share these.
#[derive(Clone)]
pub struct Client(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub name: Arc<str>,
    pub wire: Wire,
    /// The base without a slash at its end.
    pub base: String,
    pub credentials: Credentials,
    pub consumer_id: Option<HeaderValue>,
    pub timeout: Duration,
    pub most_retries: u32,
    pub budget: Budget,
    pub circuit: Option<Circuit>,
    pub max_bytes: usize,
    pub redirects: u32,
    pub metrics: HttpClientMetrics,
}

impl fmt::Debug for Client {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Client")
            .field("name", &self.0.name)
            .field("base", &self.0.base)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client as `settings` say, which counts in `metrics`. Nothing is asked yet.
    ///
    /// # Errors
    /// When the URL, the credentials or the file of authorities can't be used.
    pub fn new(settings: Settings, metrics: &Metrics) -> Result<Self, SettingsError> {
        let name = settings.name.clone();
        let made = Self::of(settings, metrics);
        made.map_err(|why| SettingsError { name, why })
    }

    fn of(settings: Settings, metrics: &Metrics) -> Result<Self, String> {
        // Not shown: a secret may be in it.
        let base = base(&settings.base_url).ok_or_else(|| format!("its URL is not {EXPECTED}"))?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::config(settings.ca_file.as_deref())?)
            .connect_timeout(settings.connect_timeout)
            .read_timeout(settings.idle_timeout)
            .pool_idle_timeout(KEPT_FOR)
            .redirect(Policy::none())
            // Both are decided here alone.
            .retry(reqwest::retry::never())
            .no_proxy()
            .user_agent(USER_AGENT)
            .build()
            .map_err(|error| error.to_string())?;
        let consumer_id = settings.consumer_id.as_deref().map(HeaderValue::from_str);
        let consumer_id = consumer_id.transpose().map_err(|error| error.to_string())?;
        let name: Arc<str> = settings.name.into();
        let metrics = metrics.http_client(&name);
        let circuit = settings
            .breaker
            .map(|breaker| Circuit::new(breaker, Arc::clone(&name), metrics.clone()));
        Ok(Self(Arc::new(Inner {
            name,
            wire: Wire {
                http,
                idle: settings.idle_timeout,
            },
            base: base.as_str().trim_end_matches('/').to_owned(),
            credentials: Credentials::of(settings.auth)?,
            consumer_id,
            timeout: settings.timeout,
            most_retries: settings.retry.most,
            budget: Budget::new(settings.retry),
            circuit,
            max_bytes: settings.max_bytes,
            redirects: settings.redirects,
            metrics,
        })))
    }

    /// A GET of `path`, which begins with a slash and may have a query.
    pub fn get(&self, path: &str) -> RequestBuilder<'_> {
        self.request(Method::GET, path)
    }

    /// A POST to `path`.
    pub fn post(&self, path: &str) -> RequestBuilder<'_> {
        self.request(Method::POST, path)
    }

    /// A PUT to `path`.
    pub fn put(&self, path: &str) -> RequestBuilder<'_> {
        self.request(Method::PUT, path)
    }

    /// A DELETE of `path`.
    pub fn delete(&self, path: &str) -> RequestBuilder<'_> {
        self.request(Method::DELETE, path)
    }

    /// A request of any method.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder<'_> {
        RequestBuilder::new(self, method, path)
    }
}

pub(crate) const EXPECTED: &str =
    "http://host or https://host, with a path perhaps, without user, query and fragment";

/// `text` as the base of URLs.
pub(crate) fn base(text: &str) -> Option<Url> {
    let url: Url = text.parse().ok()?;
    let is_base = ["http", "https"].contains(&url.scheme())
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    is_base.then_some(url)
}
