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

on_both!(
    a_forgotten_password_is_reset_by_a_link_once,
    |site: Site| async move {
        let (_, bearer) = site.world.registered("ada").await;
        site.mails().await;
        site.forgot(" ADA@example.org ").await;
        let (mail, token) = site.mail().await;
        assert_eq!(mail.to, "ada@example.org");
        assert!(mail.content.subject.contains("new password"));
        assert!(mail.content.html.contains(&token));
        // A weak one does not use the link up.
        site.reset(&token, "password")
            .await
            .problem(400, "password_too_weak");
        assert_eq!(site.reset(&token, NEW).await.ok()["ended"], 1);
        assert!(!site.world.accepts(&bearer).await);
        site.login("ada", PASSWORD)
            .await
            .problem(401, "bad_credentials");
        let bearer = site.login("ada", NEW).await.ok()["access_token"].clone();
        // Whoever has the link has shown that mail arrives.
        assert_eq!(
            site.me(bearer.as_str().unwrap()).await["email_verified"],
            true
        );
        assert_eq!(
            complaint(&site.reset(&token, PASSWORD).await),
            "was used already"
        );
        let (told, none) = site.mail().await;
        assert!(told.content.subject.contains("was changed") && none.is_empty());
    }
);

on_both!(
    a_token_that_opens_nothing_is_refused_with_the_reason,
    |site: Site| async move {
        let (_, bearer) = site.world.registered("ada").await;
        let (_, verify) = site.mail().await;
        for garbage in ["", "x", &"a".repeat(64), "ä"] {
            assert!(complaint(&site.reset(garbage, NEW).await).contains("unknown"));
            assert!(complaint(&site.verify(garbage).await).contains("unknown"));
        }
        assert!(complaint(&site.reset(&verify, NEW).await).contains("something else"));
        site.forgot("ada@example.org").await;
        let (_, late) = site.mail().await;
        assert!(complaint(&site.verify(&late).await).contains("something else"));
        site.pass(TimeDelta::minutes(60));
        assert!(complaint(&site.reset(&late, NEW).await).contains("expired"));
        // A password that was changed, and an address that was, end links that are out.
        site.forgot("ada@example.org").await;
        let (_, open) = site.mail().await;
        site.forgot("ada@example.org").await;
        let change = json!({"current_password": PASSWORD, "new_password": NEW});
        let path = "/api/auth/password";
        site.world
            .send("PUT", path, Some(&bearer), &change)
            .await
            .expect(200);
        assert!(complaint(&site.reset(&open, PASSWORD).await).contains("used"));
        let (told, _) = site.mail().await;
        assert!(
            told.content.subject.contains("was changed"),
            "the queued link was taken back"
        );
        site.pass(TimeDelta::hours(2));
        site.forgot("ada@example.org").await;
        let (_, open) = site.mail().await;
        let root = site.world.with_role("root", Role::Admin).await;
        let id = site.me(&bearer).await["id"].clone();
        let path = format!("/api/v1/users/{id}");
        let body = json!({"email": "ada@elsewhere.example"});
        site.world
            .send("PUT", &path, Some(&root), &body)
            .await
            .expect(200);
        assert!(complaint(&site.reset(&open, PASSWORD).await).contains("no longer wanted"));
        site.pass(TimeDelta::hours(24));
        assert!(complaint(&site.verify(&verify).await).contains("expired"));
    }
);

on_both!(
    nothing_shows_whether_there_is_an_account,
    |site: Site| async move {
        site.world.register("ada").await;
        let inactive = site.world.register("bob").await;
        let root = site.world.with_role("root", Role::Admin).await;
        let path = format!("/api/v1/users/{inactive}");
        let body = json!({"is_active": false});
        site.world
            .send("PUT", &path, Some(&root), &body)
            .await
            .expect(200);
        site.mails().await;
        let mut answers = Vec::new();
        for email in ["ada@example.org", "nobody@example.org", "bob@example.org"] {
            let body = json!({"email": email});
            let answer = site.post("/api/auth/password/forgot", body).await;
            answers.push((answer.status, answer.text()));
        }
        assert!(
            answers.iter().all(|answer| *answer == answers[0]),
            "{answers:?}"
        );
        let (mail, _) = site.mail().await;
        assert_eq!(mail.to, "ada@example.org");
        // Of those that nobody has, nothing stays.
        let mut reader = site.world.db.db.read().await.unwrap();
        let left: i64 = sql::fetch_one!(reader, scalar
            "select count(*) from mails where address <> 'ada@example.org' and user_id is null")
        .unwrap();
        assert_eq!(left, 0);
        let bad = site
            .post("/api/auth/password/forgot", json!({"email": "nobody"}))
            .await;
        bad.problem(400, "validation_failed");
    }
);

on_both!(
    mails_to_one_account_and_from_one_client_are_limited,
    |site: Site| async move {
        site.world.register("ada").await;
        site.world.register("bob").await;
        site.mails().await;
        for _ in 0..4 {
            site.forgot("ada@example.org").await;
        }
        assert_eq!(site.mails().await.len(), 3);
        for _ in 0..3 {
            site.forgot("nobody@example.org").await;
            site.forgot("bob@example.org").await;
        }
        assert_eq!(site.mails().await.len(), 3);
        let body = json!({"email": "carl@example.org"});
        let answer = site.post("/api/auth/password/forgot", body).await;
        answer.problem(429, "too_many_attempts");
        assert!(answer.headers.contains_key("ratelimit"));
        site.pass(TimeDelta::minutes(20));
        site.forgot("ada@example.org").await;
        assert_eq!(site.mails().await.len(), 1);
    }
);

on_both!(
    an_account_opened_without_a_password_gets_a_link_for_one,
    |site: Site| async move {
        let root = site.world.with_role("root", Role::Admin).await;
        site.mails().await;
        let body = json!({"email": "carl@example.org", "username": "carl"});
        let opened = site
            .world
            .send("POST", "/api/v1/users", Some(&root), &body)
            .await;
        opened.expect(201);
        let (mail, token) = site.mail().await;
        assert_eq!(mail.to, "carl@example.org");
        site.pass(TimeDelta::hours(20));
        site.reset(&token, NEW).await.expect(200);
        site.login("carl", NEW).await.expect(200);
    }
);

on_both!(
    an_address_is_verified_by_the_link_that_registering_mails,
    |site: Site| async move {
        let german = [
            ("content-type", "application/json"),
            ("accept-language", "de-AT,en;q=0.5"),
        ];
        let mut register = request("POST", "/api/auth/register", &german);
        *register.body_mut() = crate::world::account("ada").to_string().into();
        site.world.give(register).await.expect(201);
        let bearer = site.world.login("ada").await;
        assert_eq!(site.me(&bearer).await["email_verified"], false);
        let (mail, token) = site.mail().await;
        assert!(
            mail.content.subject.contains("deine Adresse"),
            "{}",
            mail.content.subject
        );
        site.verify(&token).await.expect(200);
        assert_eq!(site.me(&bearer).await["email_verified"], true);
        assert_eq!(complaint(&site.verify(&token).await), "was used already");
        let again = site.world.send(
            "POST",
            "/api/auth/email/resend",
            Some(&bearer),
            &Value::Null,
        );
        again.await.problem(409, "email_verified");
        assert!(site.mails().await.is_empty());
    }
);

on_both!(
    a_link_to_verify_is_mailed_again_in_the_language_of_the_request,
    |site: Site| async move {
        let (_, bearer) = site.world.registered("ada").await;
        let (_, first) = site.mail().await;
        let authorization = format!("Bearer {bearer}");
        for n in 0..4 {
            let mut again = request(
                "POST",
                "/api/auth/email/resend",
                &[("authorization", &authorization)],
            );
            again
                .headers_mut()
                .insert("accept-language", HeaderValue::from_static("de"));
            let answer = site.world.give(again).await;
            if n == 3 {
                answer.problem(403, "too_many_attempts");
            } else {
                answer.expect(202);
            }
        }
        let mails = site.mails().await;
        assert_eq!(mails.len(), 3);
        assert!(
            mails
                .iter()
                .all(|mail| mail.content.subject.contains("deine Adresse"))
        );
        // All of them hold.
        site.verify(&first).await.expect(200);
        site.verify(&token(&mails[2])).await.expect(200);
    }
);

on_both!(
    a_new_address_waits_until_it_is_verified_and_the_old_one_is_told,
    |site: Site| async move {
        let (id, bearer) = site.world.registered("ada").await;
        site.world.register("bob").await;
        site.mails().await;
        site.set_email(&bearer, "BOB@example.org")
            .await
            .problem(400, "user_exists");
        let answer = site.set_email(&bearer, "ada@new.example").await.ok();
        assert_eq!(answer["email"], "ada@example.org");
        let (mail, token) = site.mail().await;
        assert_eq!(mail.to, "ada@new.example");
        let before = site.world.events(id).await.len();
        site.verify(&token).await.expect(200);
        assert_eq!(site.world.events(id).await.len(), before + 1);
        let me = site.me(&bearer).await;
        assert_eq!(
            (&me["email"], &me["email_verified"]),
            (&json!("ada@new.example"), &json!(true))
        );
        let (told, none) = site.mail().await;
        assert!(told.to == "ada@example.org" && none.is_empty());
        // It is found by the new address alone.
        let root = site.world.with_role("root", Role::Admin).await;
        let found = site.world.get("/api/v1/users?q=ada@new", &root).await.ok();
        assert_eq!(found["total"], 1);
        let found = site.world.get("/api/v1/users?q=ada@ex", &root).await.ok();
        assert_eq!(found["total"], 0);
    }
);

on_both!(
    an_address_that_somebody_else_took_or_that_was_replaced_is_not_verified,
    |site: Site| async move {
        let (_, bearer) = site.world.registered("ada").await;
        site.mails().await;
        site.set_email(&bearer, "first@new.example")
            .await
            .expect(200);
        let (_, first) = site.mail().await;
        site.set_email(&bearer, "second@new.example")
            .await
            .expect(200);
        let (_, second) = site.mail().await;
        assert!(complaint(&site.verify(&first).await).contains("no longer wanted"));
        site.world.register_as("bob", "Second@new.example").await;
        let taken = site.verify(&second).await;
        taken.problem(409, "user_exists");
        assert_eq!(site.me(&bearer).await["email"], "ada@example.org");
        site.mails().await;
        // Back to the own one: nothing waits any more.
        site.set_email(&bearer, "Ada@example.org").await.expect(200);
        assert!(complaint(&site.verify(&second).await).contains("no longer wanted"));
        assert_eq!(site.me(&bearer).await["email"], "Ada@example.org");
        assert!(site.mails().await.is_empty());
    }
);

on_both!(
    an_admin_changes_an_address_at_once_and_both_are_told,
    |site: Site| async move {
        let (id, bearer) = site.world.registered("ada").await;
        let root = site.world.with_role("root", Role::Admin).await;
        site.mails().await;
        let path = format!("/api/v1/users/{id}");
        let body = json!({"email": "ada@new.example"});
        site.world
            .send("PUT", &path, Some(&root), &body)
            .await
            .expect(200);
        assert_eq!(site.me(&bearer).await["email"], "ada@new.example");
        let mails = site.mails().await;
        let to: Vec<&str> = mails.iter().map(|mail| mail.to.as_str()).collect();
        assert_eq!(to, ["ada@example.org", "ada@new.example"]);
        site.verify(&token(&mails[1])).await.expect(200);
    }
);

#[tokio::test]
async fn without_a_way_to_send_all_is_as_simple_as_ever() {
    let world = World::fresh().await;
    let (_, bearer) = world.registered("ada").await;
    assert!(world.auth.send_mails().await.unwrap().is_empty());
    let body = json!({"email": "ada@new.example"});
    let changed = world
        .send("PUT", "/api/auth/me", Some(&bearer), &body)
        .await
        .ok();
    assert_eq!(changed["email"], "ada@new.example");
    assert!(world.auth.send_mails().await.unwrap().is_empty());
}

#[tokio::test]
async fn where_it_is_required_only_a_verified_address_logs_in() {
    let clock = Arc::new(ManualClock::default());
    let db = testkit::db::sqlite_at("auth", auth::MIGRATIONS, clock.clone()).await;
    let post = Arc::new(Post::default());
    let world = World::open_with(db, clock, with(&post, true)).await;
    let site = Site { world, post };
    site.world.register("ada").await;
    site.login("ada", PASSWORD)
        .await
        .problem(403, "email_unverified");
    site.login("ada", "a wrong password")
        .await
        .problem(401, "bad_credentials");
    let (_, token) = site.mail().await;
    site.verify(&token).await.expect(200);
    site.login("ada", PASSWORD).await.expect(200);
    // Who lost that link asks for a password.
    site.world.register("bob").await;
    site.mails().await;
    site.forgot("bob@example.org").await;
    let (_, token) = site.mail().await;
    site.reset(&token, NEW).await.expect(200);
    site.login("bob", NEW).await.expect(200);
}

mod sending {
    //! What becomes of a mail.

    use auth::mails::Fate;

    use super::*;

    async fn fates(site: &Site) -> Vec<Fate> {
        site.world.auth.send_mails().await.unwrap()
    }

    on_both!(
        a_mail_that_was_not_taken_is_tried_again_with_a_new_link,
        |site: Site| async move {
            site.world.register("ada").await;
            site.will_answer(MailError::Retry("451".into()));
            let (failed, first) = site.mail().await;
            assert!(site.mails().await.is_empty());
            site.pass(TimeDelta::seconds(30));
            let (sent, second) = site.mail().await;
            assert_eq!(failed.id, sent.id, "the Message-ID stays");
            assert_ne!(first, second);
            assert!(complaint(&site.verify(&first).await).contains("unknown"));
            site.verify(&second).await.expect(200);
            site.pass(TimeDelta::days(1));
            assert!(site.mails().await.is_empty());
        }
    );

    on_both!(
        it_is_given_up_after_eight_attempts_or_a_refusal,
        |site: Site| async move {
            site.world.register("ada").await;
            for attempt in 1..=8 {
                site.will_answer(MailError::Retry("451".into()));
                let fate = if attempt == 8 {
                    Fate::Failed
                } else {
                    Fate::Waits
                };
                assert_eq!(fates(&site).await, [fate], "{attempt}");
                assert!(fates(&site).await.is_empty());
                site.pass(TimeDelta::seconds(30 << (attempt - 1)));
            }
            assert!(fates(&site).await.is_empty());
            site.world.register("bob").await;
            site.will_answer(MailError::Refused("550".into()));
            assert_eq!(fates(&site).await, [Fate::Failed]);
            site.pass(TimeDelta::days(1));
            assert!(fates(&site).await.is_empty());
        }
    );

    on_both!(
        one_whose_fate_is_unknown_is_not_sent_again_and_its_link_holds,
        |site: Site| async move {
            site.world.register("ada").await;
            site.will_answer(MailError::Uncertain("no answer".into()));
            let (_, token) = site.mail().await;
            site.pass(TimeDelta::hours(1));
            assert!(fates(&site).await.is_empty());
            site.verify(&token).await.expect(200);
        }
    );

    on_both!(two_replicas_send_a_mail_once, |site: Site| async move {
        for name in ["ada", "bob", "carl"] {
            site.world.register(name).await;
        }
        let (one, other) = tokio::join!(site.world.auth.send_mails(), site.world.auth.send_mails());
        let sent = one.unwrap().into_iter().chain(other.unwrap());
        assert_eq!(sent.filter(|fate| *fate == Fate::Sent).count(), 3);
        assert_eq!(site.post.seen.lock().len(), 3);
    });

    on_both!(
        a_claim_without_an_outcome_becomes_uncertain,
        |site: Site| async move {
            site.world.register("ada").await;
            let claim = site.world.db.db.write(|tx| {
                Box::pin(async move {
                    let until = tx.now() + TimeDelta::minutes(3);
                    sql::execute!(tx, "update mails set state = 'claimed', attempts = 1, due_at = $1" => until)
                })
            });
            let claim: Result<(), sql::StoreError> = claim.await;
            claim.unwrap();
            assert!(fates(&site).await.is_empty());
            site.pass(TimeDelta::minutes(3));
            assert_eq!(fates(&site).await, [Fate::Uncertain]);
            assert!(fates(&site).await.is_empty() && site.post.seen.lock().is_empty());
        }
    );

    on_both!(
        a_deleted_account_gets_no_mail_and_leaves_none,
        |site: Site| async move {
            let id = site.world.register("ada").await;
            let root = site.world.with_role("root", Role::Admin).await;
            let path = format!("/api/v1/users/{id}");
            site.world
                .send("DELETE", &path, Some(&root), &Value::Null)
                .await
                .expect(200);
            let mails = site.mails().await;
            assert!(
                mails.iter().all(|mail| mail.to == "root@example.org"),
                "{mails:?}"
            );
            let mut reader = site.world.db.db.read().await.unwrap();
            let left: i64 = sql::fetch_one!(reader, scalar
                "select count(*) from mails where address = 'ada@example.org'")
            .unwrap();
            assert_eq!(left, 0);
        }
    );

    on_both!(no_token_is_in_the_store, |site: Site| async move {
        site.world.register("ada").await;
        site.will_answer(MailError::Retry("451".into()));
        let (_, token) = site.mail().await;
        assert_eq!(token.len(), 64);
        let mut reader = site.world.db.db.read().await.unwrap();
        let hash: Vec<u8> = sql::fetch_one!(reader, scalar "select link_hash from mails").unwrap();
        assert!(hash.len() == 32 && hex::encode(&hash) != token && hash != token.as_bytes());
    });
}
