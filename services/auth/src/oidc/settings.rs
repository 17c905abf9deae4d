//! The settings of sign-in.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use blocks::config::{self, Config, Environment, Secret, Setting};
use blocks::metrics::Metrics;
use openidconnect::url::Url;

use crate::PUBLIC_URL;

/// Who a provider is.
pub const ISSUER: Setting<Option<String>> = Setting::new(
    "OIDC_<NAME>_ISSUER",
    "",
    "who signs people in at `/api/auth/oidc/<name>/start`, exactly as it calls itself: `https://accounts.google.com`",
    ADDRESS,
    |text| match text {
        "" => Some(None),
        text => address(text).map(|_| Some(text.to_owned())),
    },
);
/// Who this site is to it.
pub const CLIENT_ID: Setting<Option<String>> = Setting::text(
    "OIDC_<NAME>_CLIENT_ID",
    "the name of this site at that provider",
);
/// By what this site shows that.
pub const CLIENT_SECRET: Setting<Option<Secret>> = Setting::secret(
    "OIDC_<NAME>_CLIENT_SECRET",
    "what that provider gave to this site; absent for a public client",
);
/// What it is asked for.
pub const SCOPES: Setting<Vec<String>> = Setting::new(
    "OIDC_<NAME>_SCOPES",
    "email,profile",
    "what is asked for beside `openid`, with commas between",
    "scopes with commas between",
    |text| {
        Some(
            text.split([',', ' '])
                .filter(|scope| !scope.is_empty())
                .map(str::to_owned)
                .collect(),
        )
    },
);
/// How long it may take.
pub const TIMEOUT: Setting<Duration> = Setting::seconds(
    "OIDC_TIMEOUT_SECONDS",
    "10",
    "how long a provider may take for each answer",
);
/// Whose certificates it may have.
pub const CA_FILE: Setting<Option<String>> = Setting::text(
    "OIDC_CA_FILE",
    "a PEM file of authorities that providers' certificates may come from, besides Mozilla's",
);
/// Where browsers may go on.
pub const RETURN_ORIGINS: Setting<Vec<String>> = Setting::new(
    "OIDC_RETURN_ORIGINS",
    "",
    "which web pages a sign-in may return to beside those of `PUBLIC_URL`: origins with commas between",
    "origins with commas between, as https://app.example.org",
    |text| {
        let origins = text
            .split(',')
            .map(str::trim)
            .filter(|origin| !origin.is_empty());
        let checked = origins.map(|origin| {
            let same = address(origin)?.origin().ascii_serialization() == origin;
            same.then(|| origin.to_owned())
        });
        checked.collect()
    },
);
/// All of them.
pub const OWN: config::Settings = &[
    &ISSUER,
    &CLIENT_ID,
    &CLIENT_SECRET,
    &SCOPES,
    &TIMEOUT,
    &CA_FILE,
    &RETURN_ORIGINS,
];

/// What an address of a site or a provider is.
pub(crate) const ADDRESS: &str =
    "http://host or https://host, with a path perhaps, without user, query and fragment";

/// The address of a site or a provider.
pub(crate) fn address(text: &str) -> Option<Url> {
    let url: Url = text.parse().ok()?;
    let is_plain = ["http", "https"].contains(&url.scheme())
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    is_plain.then_some(url)
}

/// A provider, and who this site is to it.
#[derive(Debug, Clone)]
pub struct ProviderSettings {
    /// Its name in paths.
    pub name: String,
    /// As it calls itself.
    pub issuer: String,
    pub client_id: String,
    /// A public client has none.
    pub client_secret: Option<Secret>,
    /// Asked for beside `openid`.
    pub scopes: Vec<String>,
}

/// What sign-in is made of.
#[derive(Debug)]
pub struct Settings {
    pub providers: Vec<ProviderSettings>,
    /// Where browsers find this site. Without it there is no provider.
    pub site: Option<Url>,
    /// Origins that a browser may return to, beside that of the site.
    pub return_origins: Vec<String>,
    /// How long a provider may take for one answer.
    pub timeout: Duration,
    pub ca_file: Option<PathBuf>,
    /// Calls to providers are counted here.
    pub metrics: Arc<Metrics>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            providers: Vec::new(),
            site: None,
            return_origins: Vec::new(),
            timeout: Duration::from_secs(10),
            ca_file: None,
            metrics: Metrics::new(),
        }
    }
}

impl Settings {
    /// Reads the settings.
    ///
    /// # Errors
    /// Names a setting that a provider lacks, or that is not safe in production.
    pub fn read(config: &Config, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        let mut issuers: BTreeMap<_, _> = config.named(&ISSUER).into_iter().collect();
        let mut ids: BTreeMap<_, _> = config.named(&CLIENT_ID).into_iter().collect();
        let mut secrets: BTreeMap<_, _> = config.named(&CLIENT_SECRET).into_iter().collect();
        let mut scopes: BTreeMap<_, _> = config.named(&SCOPES).into_iter().collect();
        let names = issuers
            .keys()
            .chain(ids.keys())
            .chain(secrets.keys())
            .chain(scopes.keys());
        let names: std::collections::BTreeSet<String> = names.cloned().collect();
        let site = config.get(&PUBLIC_URL);
        ensure!(
            names.is_empty() || site.is_some(),
            "PUBLIC_URL is not set: providers send browsers back to it"
        );
        let mut providers = Vec::new();
        for name in names {
            let absent = |setting: &str| {
                format!(
                    "{} is not set, and others of this name are",
                    setting.replace("<NAME>", &name)
                )
            };
            let issuer = issuers.remove(&name).flatten();
            let issuer = issuer.with_context(|| absent(ISSUER.name))?;
            ensure!(
                issuer.starts_with("https:") || config.environment != Environment::Production,
                "OIDC_{name}_ISSUER is not https: whoever is on the way could sign in as anybody"
            );
            let client_id = ids.remove(&name).flatten();
            providers.push(ProviderSettings {
                client_id: client_id.with_context(|| absent(CLIENT_ID.name))?,
                client_secret: secrets.remove(&name).flatten(),
                scopes: scopes.remove(&name).unwrap_or_else(|| config.get(&SCOPES)),
                name: name.to_lowercase().replace('_', "-"),
                issuer,
            });
        }
        Ok(Self {
            providers,
            site,
            return_origins: config.get(&RETURN_ORIGINS),
            timeout: config.get(&TIMEOUT),
            ca_file: config.get(&CA_FILE).map(PathBuf::from),
            metrics: Arc::clone(metrics),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, String> {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let config = Config::from_sources(None, variables, crate::DEFINITION.settings)
            .map_err(|error| error.to_string())?;
        Settings::read(&config, &Metrics::new()).map_err(|error| error.to_string())
    }

    const SITE: (&str, &str) = ("PUBLIC_URL", "https://example.org");

    #[test]
    fn providers_are_named_by_whoever_sets_them() {
        let settings = read(&[
            SITE,
            ("OIDC_GOOGLE_ISSUER", "https://accounts.google.com"),
            ("OIDC_GOOGLE_CLIENT_ID", "one"),
            ("OIDC_GOOGLE_CLIENT_SECRET", "hunter2"),
            ("OIDC_MY_COMPANY_ISSUER", "https://login.example.org/"),
            ("OIDC_MY_COMPANY_CLIENT_ID", "two"),
            ("OIDC_MY_COMPANY_SCOPES", "email"),
            (
                "OIDC_RETURN_ORIGINS",
                "https://app.example.org, http://localhost:3000",
            ),
        ])
        .unwrap();
        let [google, company] = &settings.providers[..] else {
            panic!("{settings:?}");
        };
        assert_eq!((&*google.name, &*google.client_id), ("google", "one"));
        assert_eq!(google.scopes, ["email", "profile"]);
        assert_eq!(google.client_secret.as_ref().unwrap().expose(), "hunter2");
        assert_eq!(
            (&*company.name, &*company.issuer),
            ("my-company", "https://login.example.org/")
        );
        assert_eq!(
            (company.client_secret.is_none(), company.scopes.len()),
            (true, 1)
        );
        assert_eq!(
            settings.return_origins,
            ["https://app.example.org", "http://localhost:3000"]
        );
        assert_eq!(settings.timeout.as_secs(), 10);
        assert!(!format!("{settings:?}").contains("hunter2"));
        assert!(read(&[]).unwrap().providers.is_empty());
    }

    #[test]
    fn what_a_provider_lacks_is_named() {
        let issuer = ("OIDC_X_ISSUER", "http://127.0.0.1:9000");
        let id = ("OIDC_X_CLIENT_ID", "one");
        for (variables, said) in [
            (vec![issuer, id], "PUBLIC_URL is not set"),
            (vec![SITE, id], "OIDC_X_ISSUER is not set"),
            (vec![SITE, issuer], "OIDC_X_CLIENT_ID is not set"),
            (
                vec![SITE, ("OIDC_X_SCOPES", "email")],
                "OIDC_X_ISSUER is not set",
            ),
            (
                vec![("PUBLIC_URL", "example.org")],
                "PUBLIC_URL is \"example.org\"",
            ),
            (
                vec![("OIDC_X_ISSUER", "x")],
                "OIDC_X_ISSUER is \"x\" (from environment), expected http",
            ),
            (
                vec![("OIDC_RETURN_ORIGINS", "https://a.example/path")],
                "OIDC_RETURN_ORIGINS is",
            ),
            (
                vec![SITE, issuer, id, ("ENVIRONMENT", "production")],
                "OIDC_X_ISSUER is not https",
            ),
        ] {
            let error = read(&variables).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        read(&[SITE, issuer, id]).unwrap();
    }
}
