//! Servers of every kind, to point a setting at the wrong one of them.

use std::net::TcpListener;

use axum::Router;
use blocks::error::chain;
use futures::future::join_all;

use crate::db::TEST_DATABASE_URL;
use crate::fleet::{Executable, Standalone, TEST_KAFKA, brokers};
use crate::http::eventually;
use crate::ports::free_port;

/// Variable with a Redis server for tests.
pub const TEST_REDIS_URL: &str = "TEST_REDIS_URL";
/// Variable with a MongoDB server for tests.
pub const TEST_MONGODB_URL: &str = "TEST_MONGODB_URL";

/// The servers that the environment names for tests, one that speaks HTTP, one that accepts connections and
/// never answers, and a port where nothing listens.
pub struct Strangers {
    servers: Vec<(&'static str, String)>,
    _silent: TcpListener,
}

impl Strangers {
    /// All but the one that the `TEST_…` variable `own` names; all of them without one.
    ///
    /// # Panics
    /// When one of the variables is absent.
    pub async fn to(own: &str) -> Self {
        let variables = [
            TEST_KAFKA,
            TEST_DATABASE_URL,
            TEST_MONGODB_URL,
            TEST_REDIS_URL,
        ];
        let named = variables.into_iter().filter(|variable| *variable != own);
        let mut servers: Vec<(&str, String)> =
            named.map(|variable| (variable, server(variable))).collect();
        let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        servers.push(("silent", silent.local_addr().unwrap().to_string()));
        servers.push(("HTTP", http().await));
        servers.push(("nobody", format!("127.0.0.1:{}", free_port())));
        Self {
            servers,
            _silent: silent,
        }
    }

    /// Starts `service` once for each of them, with `setting` at it as `url` writes it, and `others`.
    ///
    /// It must go on, answer, and stop when it is told to. It must log the fault with the setting's name
    /// and the address, without the password `hidden`, and not at every attempt.
    async fn are_named(
        &self,
        service: &Executable<'_>,
        setting: &str,
        url: impl Fn(&str) -> String,
        others: &[(&str, &str)],
    ) {
        let met = self.servers.iter().map(|(kind, address)| {
            let url = url(address);
            async move {
                let mut settings = others.to_vec();
                settings.push((setting, &url));
                let service = Standalone::start(service.path, &settings).await;
                let about = |text: &str| {
                    let lines = text.lines().filter(|line| {
                        line.contains("WARN") && line.contains(setting) && line.contains(address)
                    });
                    lines.count()
                };
                eventually("the setting and the address are named", async || {
                    (about(&service.output()) > 0).then_some(())
                })
                .await;
                tokio::time::sleep(std::time::Duration::from_secs(5)).await;
                let said = service.output();
                assert!(about(&said) <= 3, "{kind}: {said}");
                assert!(!said.contains("hidden"), "{kind}: {said}");
                let health = service.client.send("GET", "/health", None, None).await;
                health.expect(200);
                assert_eq!(service.stop().await.code(), Some(0), "{kind}");
            }
        });
        join_all(met).await;
    }

    /// Their kinds and addresses.
    pub fn servers(&self) -> &[(&'static str, String)] {
        &self.servers
    }
}

impl Executable<'_> {
    /// Asserts that it names the [`Strangers`] that it meets in place of its store.
    pub async fn names_strangers_as_store(&self) {
        let (store, kafka) = (self.store, brokers());
        let settings = self.settings("", &kafka);
        let strangers = Strangers::to(store.server).await;
        let url = |address: &str| store.at(address);
        strangers
            .are_named(self, store.setting, url, &settings)
            .await;
    }

    /// Asserts that it names those that it meets in place of Kafka, with its store at `url`.
    pub async fn names_strangers_as_kafka(&self, url: &str) {
        let settings = self.settings(url, "");
        let strangers = Strangers::to(TEST_KAFKA).await;
        strangers
            .are_named(self, "KAFKA_BOOTSTRAP_SERVERS", str::to_owned, &settings)
            .await;
    }
}

/// `host:port` of the server that `variable` names.
///
/// # Panics
/// When it is absent.
#[expect(
    clippy::disallowed_methods,
    reason = "the harness is told where the server is"
)]
pub fn server(variable: &str) -> String {
    let url = std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} names a server for this test"));
    address(&url).to_owned()
}

/// The `host:port` of a URL; a `host:port` stays as it is.
fn address(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or(rest);
    authority
        .rsplit_once('@')
        .map_or(authority, |(_, address)| address)
}

/// A server that speaks HTTP and knows nothing. It ends with the test.
async fn http() -> String {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap().to_string();
    #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, Router::new()).await {
            panic!("{}", chain(&error));
        }
    });
    address
}
