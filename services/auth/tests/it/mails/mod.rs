//! Mails to accounts, and the links in them.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use auth::Settings;
use auth::mails::MailSettings;
use blocks::{ManualClock, Role};
use chrono::TimeDelta;
use http::HeaderValue;
use mail::{Mail, MailError, Mailer};
use parking_lot::Mutex;
use serde_json::{Value, json};
use testkit::db::TestDb;
use testkit::http::Answer;

use crate::world::{PASSWORD, World, request, settings};

const NEW: &str = "another horse battery";

/// Runs a test with mails on SQLite and, where a server is named, on PostgreSQL.
macro_rules! on_both {
    ($name:ident, $test:expr) => {
        testkit::on_each_database!(
            $name,
            "auth",
            auth::MIGRATIONS,
            manual_clock,
            async |db: TestDb, clock: Arc<ManualClock>| {
                let post = Arc::new(Post::default());
                let world = World::open_with(db, clock, with(&post, false)).await;
                ($test)(Site { world, post }).await;
            }
        );
    };
}

mod addresses;
mod passwords;
mod sending;

/// Takes mails, or answers what it was told to.
#[derive(Default)]
struct Post {
    seen: Mutex<Vec<Mail>>,
    answers: Mutex<VecDeque<MailError>>,
}

#[async_trait]
impl Mailer for Post {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        self.seen.lock().push(mail.clone());
        self.answers.lock().pop_front().map_or(Ok(()), Err)
    }
}

fn with(post: &Arc<Post>, requires_verified: bool) -> Settings {
    let mails = MailSettings {
        mailer: Arc::clone(post) as Arc<dyn Mailer>,
        requires_verified,
        ..MailSettings::default()
    };
    Settings {
        mails,
        ..settings()
    }
}

struct Site {
    world: World,
    post: Arc<Post>,
}

/// See `World`.
impl Drop for Site {
    fn drop(&mut self) {}
}

/// The token in the link of a mail; empty where there is none.
fn token(mail: &Mail) -> String {
    let link = mail
        .content
        .text
        .lines()
        .find(|line| line.starts_with("http"));
    let token = link.and_then(|link| link.split_once('#'));
    token.map(|(_, token)| token.to_owned()).unwrap_or_default()
}

impl Site {
    /// Sends what is due; answers the mails of this round, by recipient.
    async fn mails(&self) -> Vec<Mail> {
        self.post.seen.lock().clear();
        self.world.auth.send_mails().await.unwrap();
        let mut mails = self.post.seen.lock().clone();
        mails.sort_by(|one, other| one.to.cmp(&other.to));
        mails
    }

    /// The only mail that is due, whom it goes to, and the token in it.
    #[track_caller]
    fn mail(&self) -> impl Future<Output = (Mail, String)> {
        let at = std::panic::Location::caller();
        async move {
            let mails = self.mails().await;
            let [mail] = mails.as_slice() else {
                panic!("{at}: {} mails", mails.len());
            };
            (mail.clone(), token(mail))
        }
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.world.send("POST", path, None, &body).await
    }

    async fn forgot(&self, email: &str) {
        let body = json!({"email": email});
        self.post("/api/auth/password/forgot", body)
            .await
            .expect(202);
    }

    async fn reset(&self, token: &str, password: &str) -> Answer {
        let body = json!({"token": token, "new_password": password});
        self.post("/api/auth/password/reset", body).await
    }

    async fn verify(&self, token: &str) -> Answer {
        self.post("/api/auth/email/verify", json!({"token": token}))
            .await
    }

    async fn login(&self, name: &str, password: &str) -> Answer {
        let body = json!({"username": name, "password": password});
        self.post("/api/auth/login", body).await
    }

    async fn set_email(&self, bearer: &str, email: &str) -> Answer {
        let body = json!({"email": email});
        self.world
            .send("PUT", "/api/auth/me", Some(bearer), &body)
            .await
    }

    async fn me(&self, bearer: &str) -> Value {
        self.world.get("/api/auth/me", bearer).await.ok()
    }

    fn pass(&self, time: TimeDelta) {
        self.world.clock.advance(time);
    }

    fn will_answer(&self, error: MailError) {
        self.post.answers.lock().push_back(error);
    }
}

/// The complaint about the field `token`.
fn complaint(answer: &Answer) -> String {
    answer.problem(400, "validation_failed");
    let problem = answer.json();
    problem["errors"]["token"][0].as_str().unwrap().to_owned()
}
