//! Signing in by a provider.

mod accounts;
mod answers;
mod provider;
mod returns;

use std::sync::Arc;
use std::time::Duration;

use auth::mails::MailSettings;
use auth::oidc::{self, ProviderSettings};
use blocks::ManualClock;
use blocks::config::Secret;
use http::header::{COOKIE, LOCATION, SET_COOKIE};
use serde_json::{Value, json};
use testkit::db::TestDb;
use testkit::http::Answer;

use crate::world::{World, request, settings};
use provider::{CLIENT_ID, CLIENT_SECRET, Provider};

/// Runs a test with a provider on SQLite and, where a server is named, on PostgreSQL.
#[macro_export]
macro_rules! signing_in {
    ($name:ident, $test:expr) => {
        testkit::on_each_database!(
            $name,
            "auth",
            auth::MIGRATIONS,
            manual_clock,
            async |db: testkit::db::TestDb, clock: std::sync::Arc<blocks::ManualClock>| {
                ($test)($crate::oidc::Site::open(db, clock).await).await;
            }
        );
    };
}

/// A world in which people sign in by `provider`.
pub struct Site {
    pub world: World,
    pub provider: Provider,
}

/// See that of [`World`].
impl Drop for Site {
    fn drop(&mut self) {}
}

/// A browser: what it keeps.
#[derive(Default, Clone)]
pub struct Browser(Vec<(String, String)>);

impl Browser {
    fn take(&mut self, answer: &Answer) {
        for set in answer.headers.get_all(SET_COOKIE) {
            let set = set.to_str().unwrap();
            let (name, value) = set.split(';').next().unwrap().split_once('=').unwrap();
            self.0.retain(|(known, _)| known != name);
            if !set.contains("Max-Age=0") {
                self.0.push((name.to_owned(), value.to_owned()));
            }
        }
    }
}

impl Site {
    pub async fn fresh() -> Self {
        let clock = Arc::new(ManualClock::default());
        let db = testkit::db::sqlite_at("auth", auth::MIGRATIONS, clock.clone()).await;
        Self::open(db, clock).await
    }

    pub async fn open(db: TestDb, clock: Arc<ManualClock>) -> Self {
        Self::open_with(db, clock, MailSettings::default()).await
    }

    pub async fn open_with(db: TestDb, clock: Arc<ManualClock>, mails: MailSettings) -> Self {
        let provider = Provider::start(clock.clone()).await;
        let of = |name: &str, issuer: &str| ProviderSettings {
            name: name.to_owned(),
            issuer: issuer.to_owned(),
            client_id: CLIENT_ID.to_owned(),
            client_secret: Some(Secret::new(CLIENT_SECRET)),
            scopes: vec!["email".to_owned(), "profile".to_owned()],
        };
        let settings = auth::Settings {
            oidc: oidc::Settings {
                // Nobody listens at the port of discard.
                providers: vec![
                    of("acme", &provider.issuer),
                    of("gone", "http://127.0.0.1:9"),
                ],
                site: Some("https://api.example.org".parse().unwrap()),
                return_origins: vec!["https://app.example.org".to_owned()],
                timeout: Duration::from_millis(500),
                ..oidc::Settings::default()
            },
            mails,
            ..settings()
        };
        let world = World::open_with(db, clock, settings).await;
        Self { world, provider }
    }

    /// Asks as `browser`, which keeps what the answer has it keep.
    pub async fn ask(&self, browser: &mut Browser, path: &str) -> Answer {
        let kept: Vec<String> = browser
            .0
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let kept = kept.join("; ");
        let headers: &[(&str, &str)] = &[(COOKIE.as_str(), &kept), ("user-agent", "a browser")];
        let answer = self.world.give(request("GET", path, headers)).await;
        browser.take(&answer);
        answer
    }

    /// Begins; answers where the browser is sent.
    pub async fn start(&self, browser: &mut Browser, query: &str) -> String {
        let answer = self
            .ask(browser, &format!("/api/auth/oidc/acme/start{query}"))
            .await;
        assert_eq!(answer.status.as_u16(), 303, "{}", answer.text());
        location(&answer)
    }

    /// Begins and lets the provider sign in; answers the way back.
    pub async fn way_back(&self, browser: &mut Browser, query: &str) -> String {
        let url = self.start(browser, query).await;
        format!(
            "/api/auth/oidc/acme/callback?{}",
            self.provider.authorize(&url)
        )
    }

    /// Signs in with a new browser; the last answer.
    pub async fn sign_in(&self) -> Answer {
        let mut browser = Browser::default();
        let back = self.way_back(&mut browser, "").await;
        self.ask(&mut browser, &back).await
    }

    /// The account of an answer with a token.
    pub async fn account(&self, answer: &Answer) -> Value {
        let token = answer.expect(200)["access_token"]
            .as_str()
            .unwrap()
            .to_owned();
        self.world.get("/api/auth/me", &token).await.expect(200)
    }

    /// Notes that the owner of the account has shown that its address is theirs.
    pub async fn verify(&self, id: i64) {
        self.set_verified(id, true).await;
    }

    pub async fn set_verified(&self, id: i64, is_verified: bool) {
        let write = self.world.db.db.write(move |tx| {
            Box::pin(async move {
                sql::execute!(tx, "update users set email_verified = $2 where id = $1" => id, is_verified)
            })
        });
        write.await.unwrap();
    }

    pub async fn count(&self, table: &'static str) -> i64 {
        let mut reader = self.world.db.db.read().await.unwrap();
        let statement = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
        sql::fetch_one!(&mut reader, scalar statement).unwrap()
    }

    pub async fn exchange(&self, code: &str) -> Answer {
        let body = json!({"code": code});
        self.world
            .send("POST", "/api/auth/oidc/exchange", None, &body)
            .await
    }
}

pub fn location(answer: &Answer) -> String {
    answer.headers[LOCATION].to_str().unwrap().to_owned()
}
