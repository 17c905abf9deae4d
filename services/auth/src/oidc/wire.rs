//! The way to a provider's servers: the project's own HTTP client, one for each of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use blocks::metrics::Metrics;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http_client::Client;
use openidconnect::url::{Position, Url};
use openidconnect::{HttpRequest, HttpResponse};
use parking_lot::Mutex;

use super::{OidcError, ProviderSettings, Settings};

/// The largest answer of a provider, in bytes.
const MAX_BYTES: usize = 1 << 20;
/// Most servers of one provider.
const MAX_SERVERS: usize = 8;

/// A call to a provider that failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error(transparent)]
    Http(#[from] http_client::Error),
    #[error("the provider names a server that can't be asked: {0}")]
    Server(String),
}

impl From<CallError> for OidcError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Http(error) => Self::Away(error),
            CallError::Server(_) => Self::Rubbish(error.to_string()),
        }
    }
}

/// The clients of a provider's servers.
pub struct Wire {
    /// What they have in common.
    common: http_client::Settings,
    /// Theirs by origin.
    clients: Mutex<BTreeMap<String, Client>>,
    /// That of the issuer.
    scheme: String,
    metrics: Arc<Metrics>,
}

impl Wire {
    pub fn new(of: &ProviderSettings, settings: &Settings) -> Self {
        let issuer = of.issuer.as_str();
        Self {
            common: http_client::Settings {
                timeout: settings.timeout,
                max_bytes: MAX_BYTES,
                ca_file: settings.ca_file.clone(),
                ..http_client::Settings::new(format!("oidc-{}", of.name), issuer)
            },
            clients: Mutex::default(),
            metrics: Arc::clone(&settings.metrics),
            scheme: issuer.split(':').next().unwrap_or_default().to_lowercase(),
        }
    }

    /// The HTTP client of the library.
    pub fn client(
        self: &Arc<Self>,
    ) -> impl Fn(HttpRequest) -> BoxFuture<'static, Result<HttpResponse, CallError>> + Send + Sync + use<>
    {
        let wire = Arc::clone(self);
        move |request| {
            let wire = Arc::clone(&wire);
            async move { wire.call(request).await }.boxed()
        }
    }

    /// Refuses a server without TLS of a provider that has it.
    pub fn check(&self, url: &Url) -> Result<(), CallError> {
        let is_safe = url.scheme() == "https" || url.scheme() == self.scheme;
        let refused = || {
            CallError::Server(format!(
                "{}://{}",
                url.scheme(),
                url.host_str().unwrap_or_default()
            ))
        };
        is_safe.then_some(()).ok_or_else(refused)
    }

    /// The client of the server that has `url`.
    fn server(&self, url: &Url) -> Result<Client, CallError> {
        self.check(url)?;
        let origin = url.origin().ascii_serialization();
        let mut clients = self.clients.lock();
        if let Some(client) = clients.get(&origin) {
            return Ok(client.clone());
        }
        if clients.len() >= MAX_SERVERS {
            return Err(CallError::Server(format!("{origin}, one too many")));
        }
        let settings = http_client::Settings {
            base_url: origin.clone(),
            ..self.common.clone()
        };
        let client = Client::new(settings, &self.metrics);
        let client = client.map_err(|error| CallError::Server(error.to_string()))?;
        clients.insert(origin, client.clone());
        Ok(client)
    }

    /// Sends a request of the library by our own client: its time-outs, limits, retries and circuit breaker.
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, CallError> {
        let url = request.uri().to_string();
        let url: Url = url
            .parse()
            .map_err(|_| CallError::Server("no URL".to_owned()))?;
        let client = self.server(&url)?;
        let path = &url[Position::BeforePath..Position::AfterQuery];
        let mut call = client.request(request.method().clone(), path);
        let text = |value: &http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let media_type = request
            .headers()
            .get(CONTENT_TYPE)
            .map(text)
            .unwrap_or_default();
        for (name, value) in request.headers() {
            call = call.header(name.as_str(), &text(value));
        }
        if !request.body().is_empty() {
            call = call.body(request.into_body(), &media_type);
        }
        let answer = call.send().await?;
        // One that fails is away, whatever it says of it.
        let answer = if answer.status.is_server_error() {
            answer.success()?
        } else {
            answer
        };
        let mut response = http::Response::new(answer.body.to_vec());
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use blocks::config::Secret;

    use super::*;

    fn wire(issuer: &str) -> Wire {
        let of = ProviderSettings {
            name: "acme".to_owned(),
            issuer: issuer.to_owned(),
            client_id: "rookery".to_owned(),
            client_secret: Some(Secret::new("hunter2")),
            scopes: Vec::new(),
        };
        Wire::new(&of, &Settings::default())
    }

    #[test]
    fn a_provider_has_few_servers_and_all_have_tls_if_it_has() {
        let secure = wire("https://id.example.org");
        let ask = |wire: &Wire, url: &str| wire.server(&url.parse().unwrap()).map(drop);
        ask(&secure, "http://id.example.org/token").unwrap_err();
        ask(&secure, "file:///etc/passwd").unwrap_err();
        for number in 0..MAX_SERVERS {
            ask(&secure, &format!("https://{number}.example.org/token")).unwrap();
        }
        ask(&secure, "https://one.more.example.org/token").unwrap_err();
        ask(&secure, "https://0.example.org/keys").unwrap();
        ask(
            &wire("http://127.0.0.1:9000"),
            "http://127.0.0.1:9001/token",
        )
        .unwrap();
    }
}
