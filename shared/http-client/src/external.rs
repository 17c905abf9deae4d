//! APIs of others that are named in the configuration.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use blocks::config::{AnySetting, Config, Setting};
use blocks::metrics::Metrics;

use crate::auth::Auth;
use crate::breaker::Breaker;
use crate::client::{Client, EXPECTED, Settings, base};
use crate::retry::Retry;

/// An API of others, and the settings that say where it is and how it is asked. Declared by
/// [`external_api!`](crate::external_api).
#[derive(Debug)]
pub struct ExternalApi {
    /// Its name in settings, in capitals.
    pub name: &'static str,
    url: Setting<Option<String>>,
    auth: Setting<Auth>,
    timeout: Setting<Duration>,
    connect_timeout: Setting<Duration>,
    idle_timeout: Setting<Duration>,
    retries: Setting<u32>,
    breaker: Setting<bool>,
    max_bytes: Setting<usize>,
    ca_file: Setting<Option<PathBuf>>,
}

/// The number of settings of an API.
const SETTINGS: usize = 9;

/// Declares an [`ExternalApi`]: `external_api!(pub GEOCODER = "GEOCODER", "the geocoder");`
#[macro_export]
macro_rules! external_api {
    ($(#[$meta:meta])* $visible:vis $api:ident = $name:literal, $about:literal) => {
        $(#[$meta])*
        $visible static $api: $crate::ExternalApi = $crate::ExternalApi::new(
            $name,
            concat!("where ", $about, " is, as `https://api.example.com/v1`"),
            [
                concat!("EXTERNAL_", $name, "_URL"),
                concat!("EXTERNAL_", $name, "_AUTH"),
                concat!("EXTERNAL_", $name, "_TIMEOUT"),
                concat!("EXTERNAL_", $name, "_CONNECT_TIMEOUT"),
                concat!("EXTERNAL_", $name, "_IDLE_TIMEOUT"),
                concat!("EXTERNAL_", $name, "_RETRIES"),
                concat!("EXTERNAL_", $name, "_BREAKER"),
                concat!("EXTERNAL_", $name, "_MAX_BYTES"),
                concat!("EXTERNAL_", $name, "_CA_FILE"),
            ],
        );
    };
}

impl ExternalApi {
    /// The API `name` with settings of these names, in the order of the fields. For
    /// [`external_api!`](crate::external_api).
    pub const fn new(
        name: &'static str,
        about: &'static str,
        [
            url,
            auth,
            timeout,
            connect,
            idle,
            retries,
            breaker,
            bytes,
            ca,
        ]: [&'static str; SETTINGS],
    ) -> Self {
        Self {
            name,
            url: Setting::new(url, "", about, EXPECTED, |text| match text {
                "" => Some(None),
                text => base(text).map(|_| Some(text.to_owned())),
            }),
            auth: Setting {
                secret: true,
                ..Setting::new(
                    auth,
                    "",
                    "how it is shown who asks: `none`, `bearer TOKEN`, `basic USER PASSWORD`, `api-key HEADER KEY`, `oauth2 ID SECRET TOKEN_URL SCOPES`, or `oauth2-post` with the same",
                    "none, bearer TOKEN, basic USER PASSWORD, api-key HEADER KEY, or oauth2 (or oauth2-post) \
                     ID SECRET TOKEN_URL SCOPES",
                    Auth::parse,
                )
            },
            timeout: Setting::seconds(
                timeout,
                "30",
                "how long a call may take, with all its tries",
            ),
            connect_timeout: Setting::seconds(connect, "5", "how long a connection may take"),
            idle_timeout: Setting::seconds(idle, "10", "how long nothing may come"),
            retries: Setting::new(
                retries,
                "2",
                "how often a call is tried again, where that does no harm",
                "a number from 0 to 10",
                |text| text.parse().ok().filter(|retries| *retries <= 10),
            ),
            breaker: Setting::switch(
                breaker,
                "true",
                "calls fail at once while most of them fail anyway",
            ),
            max_bytes: Setting::new(
                bytes,
                "10485760",
                "the largest answer",
                "a number of bytes from 1 on",
                |text| text.parse().ok().filter(|bytes| *bytes > 0),
            ),
            ca_file: Setting::new(
                ca,
                "",
                "a PEM file of authorities that are trusted besides Mozilla's",
                "a file",
                |text| {
                    Some(
                        Some(text)
                            .filter(|text| !text.is_empty())
                            .map(PathBuf::from),
                    )
                },
            ),
        }
    }

    /// Its settings, for the list of whoever uses it.
    pub const fn settings(&'static self) -> [&'static dyn AnySetting; SETTINGS] {
        [
            &self.url,
            &self.auth,
            &self.timeout,
            &self.connect_timeout,
            &self.idle_timeout,
            &self.retries,
            &self.breaker,
            &self.max_bytes,
            &self.ca_file,
        ]
    }

    /// A client as `config` says, which counts in `metrics`. It calls itself `APP_NAME` in `X-Consumer-Id`.
    ///
    /// # Errors
    /// When the URL is absent, or the client can't be made.
    pub fn client(&self, config: &Config, metrics: &Metrics) -> anyhow::Result<Client> {
        let url = config.get(&self.url);
        let url = url.with_context(|| format!("{} is not set", self.url.name))?;
        let settings = Settings {
            auth: config.get(&self.auth),
            consumer_id: Some(config.app_name.clone()),
            timeout: config.get(&self.timeout),
            connect_timeout: config.get(&self.connect_timeout),
            idle_timeout: config.get(&self.idle_timeout),
            retry: Retry {
                most: config.get(&self.retries),
                ..Retry::default()
            },
            breaker: config.get(&self.breaker).then(Breaker::default),
            max_bytes: config.get(&self.max_bytes),
            ca_file: config.get(&self.ca_file),
            ..Settings::new(self.name.to_lowercase(), url)
        };
        Ok(Client::new(settings, metrics)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    external_api!(GEOCODER = "GEOCODER", "the geocoder");

    fn load(variables: &[(&str, &str)]) -> anyhow::Result<Client> {
        let variables = variables.iter();
        let variables = variables.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let config = Config::from_sources(None, variables, &GEOCODER.settings())?;
        GEOCODER.client(&config, &Metrics::new())
    }

    #[test]
    fn its_settings_make_a_client() {
        let client = load(&[
            ("EXTERNAL_GEOCODER_URL", "https://geo.example.com/v1"),
            ("EXTERNAL_GEOCODER_AUTH", "bearer hunter2"),
            ("EXTERNAL_GEOCODER_TIMEOUT", "3"),
            ("EXTERNAL_GEOCODER_RETRIES", "0"),
            ("EXTERNAL_GEOCODER_BREAKER", "false"),
            ("EXTERNAL_GEOCODER_MAX_BYTES", "1000"),
        ])
        .unwrap();
        let inner = &client.0;
        assert_eq!(
            (&*inner.name, &*inner.base),
            ("geocoder", "https://geo.example.com/v1")
        );
        assert_eq!((inner.timeout.as_secs(), inner.most_retries), (3, 0));
        assert_eq!((inner.circuit.is_none(), inner.max_bytes), (true, 1000));
        assert_eq!(inner.consumer_id.as_ref().unwrap(), "rookery");
    }

    #[test]
    fn a_wrong_setting_is_named_and_no_secret_is_shown() {
        let url = ("EXTERNAL_GEOCODER_URL", "https://geo.example.com");
        for (variables, said) in [
            (vec![], "EXTERNAL_GEOCODER_URL is not set"),
            (
                vec![("EXTERNAL_GEOCODER_URL", "geo")],
                "expected http://host",
            ),
            (
                vec![url, ("EXTERNAL_GEOCODER_AUTH", "bearr hunter2")],
                "EXTERNAL_GEOCODER_AUTH is",
            ),
            (vec![url, ("EXTERNAL_GEOCODER_TIMEOUT", "0")], "seconds"),
            (
                vec![url, ("EXTERNAL_GEOCODER_CA_FILE", "/nowhere.pem")],
                "/nowhere.pem",
            ),
        ] {
            let error = format!("{:#}", load(&variables).unwrap_err());
            assert!(error.contains(said), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
