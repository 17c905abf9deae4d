//! Sign-in with OpenID Connect: the code flow, as a client of any provider.
//!
//! ```text
//! GET …/start ─ a cookie with the sealed attempt ─▶ provider ─▶ GET …/callback ─ opens it by the state
//!                                                                   ├─ code ─▶ tokens ─▶ person
//!                                                                   └─ one write: identity, account, code
//! ```
//!
//! Nothing is stored at the start. The attempt is sealed by a key that all replicas have, and opens for the
//! browser that holds the cookie and the state that the provider sends back. So it works on every replica.

mod attempt;
mod error;
mod provider;
pub mod settings;
mod wire;

use std::collections::BTreeMap;

use blocks::FieldErrors;
use openidconnect::url::Url;

pub use attempt::{Attempt, secret};
pub use error::OidcError;
pub use provider::{Person, Prompt, Provider};
pub use settings::{ProviderSettings, Settings};

use crate::error::OpenError;
use crate::keyring::Seal;

/// The path of all endpoints of sign-in.
pub const PATH: &str = "/api/auth/oidc";
/// The longest address to return to, in bytes: a cookie holds it.
pub const MAX_RETURN_TO: usize = 1_024;

/// The providers, and where browsers may return to.
pub struct Oidc {
    providers: BTreeMap<String, Provider>,
    /// Where browsers find this site; present where there is a provider.
    site: Option<Url>,
    return_origins: Vec<String>,
    seal: Seal,
}

impl Oidc {
    /// Sign-in as `settings` say. No provider is asked yet.
    ///
    /// # Errors
    /// When the secret key is too short.
    pub fn new(settings: Settings, secret_key: &str) -> Result<Self, OpenError> {
        let mut providers = BTreeMap::new();
        if let Some(site) = &settings.site {
            for provider in &settings.providers {
                let made = Provider::new(provider, &settings, site);
                providers.insert(provider.name.clone(), made);
            }
        }
        Ok(Self {
            providers,
            site: settings.site,
            return_origins: settings.return_origins,
            seal: Seal::of(secret_key, b"oidc attempts")?,
        })
    }

    /// The names of the providers.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.providers.keys().map(String::as_str)
    }

    /// The provider of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn provider(&self, name: &str) -> Result<&Provider, OidcError> {
        self.providers.get(name).ok_or(OidcError::NoProvider)
    }

    /// True if browsers reach this site by TLS alone.
    pub fn is_secure(&self) -> bool {
        self.site
            .as_ref()
            .is_some_and(|site| site.scheme() == "https")
    }

    /// Reads where a browser is to return to. A path is one of this site.
    ///
    /// # Errors
    /// Names the parameter when that is of an origin that is not allowed, or can't be told from our answer.
    pub fn return_to(&self, text: &str) -> Result<Url, FieldErrors> {
        let refused = |why: &str| FieldErrors::one("return_to", why);
        let site = self
            .site
            .as_ref()
            .ok_or_else(|| refused("is of no allowed origin"))?;
        let url = site.join(text).map_err(|_| refused("is not a URL"))?;
        let origin = url.origin().ascii_serialization();
        let is_allowed = url.origin() == site.origin() || self.return_origins.contains(&origin);
        if !is_allowed || !url.username().is_empty() || url.password().is_some() {
            return Err(refused("is of no allowed origin"));
        }
        // The page takes the first: it must be ours.
        if url
            .query_pairs()
            .any(|(name, _)| name == "code" || name == "error")
        {
            return Err(refused("must not have code or error in its query"));
        }
        if url.as_str().len() > MAX_RETURN_TO {
            return Err(refused("is too long"));
        }
        Ok(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oidc() -> Oidc {
        let settings = Settings {
            site: Some("https://api.example.org/base".parse().unwrap()),
            return_origins: vec!["https://app.example.org".to_owned()],
            ..Settings::default()
        };
        Oidc::new(settings, "a secret key for tests only").unwrap()
    }

    #[test]
    fn a_browser_returns_to_allowed_origins_alone() {
        let oidc = oidc();
        for (text, url) in [
            ("/home?tab=1#top", "https://api.example.org/home?tab=1#top"),
            ("https://app.example.org", "https://app.example.org/"),
            (
                "https://APP.example.org:443/in?state=x",
                "https://app.example.org/in?state=x",
            ),
            (
                // Without two slashes it is a path, as browsers read it.
                "https:/evil.example.com/x",
                "https://api.example.org/evil.example.com/x",
            ),
        ] {
            assert_eq!(oidc.return_to(text).unwrap().as_str(), url, "{text}");
        }
        let long = format!("/{}", "x".repeat(MAX_RETURN_TO));
        for text in [
            "//evil.example.com",
            "/\\evil.example.com",
            "\\\\evil.example.com",
            "/\t/evil.example.com",
            "https://evil.example.com",
            "https://app.example.org.evil.example.com",
            "https://app.example.org@evil.example.com",
            "https://user:pw@app.example.org",
            "https://app.example.org:8443",
            "http://app.example.org",
            "javascript:alert(1)",
            "data:text/html,x",
            "https://",
            "/in?code=mine",
            "/in?%63ode=mine",
            "/in?error=x",
            &long,
        ] {
            let refused = oidc.return_to(text).map(String::from);
            assert!(refused.is_err(), "{text:?}: {refused:?}");
        }
        let nowhere = Oidc::new(Settings::default(), "a secret key for tests only").unwrap();
        nowhere.return_to("/home").unwrap_err();
    }
}
