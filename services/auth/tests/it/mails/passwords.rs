//! Forgotten passwords, and first ones.

use sql::{StoreError, execute, fetch_one};

use super::*;

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
    a_reset_ends_what_somebody_else_prepared_and_lets_the_owner_in_while_others_guess,
    |site: Site| async move {
        let (_, bearer) = site.world.registered("ada").await;
        site.mails().await;
        // Whoever has a session asks for another address, and links a provider.
        site.set_email(&bearer, "thief@example.org")
            .await
            .expect(200);
        let (mail, thiefs) = site.mail().await;
        assert_eq!(mail.to, "thief@example.org");
        let link = async |issuer: &'static str| {
            let write = site.world.db.write(move |tx| {
                Box::pin(async move {
                    execute!(tx, "insert into oidc_identities (issuer, subject, user_id, created_at)
                        select $1, 's', id, created_at from users where username = 'ada'" => issuer)
                })
            });
            let done: Result<(), StoreError> = write.await;
            done.unwrap();
        };
        let linked = async || -> i64 {
            let mut reader = site.world.db.read().await.unwrap();
            fetch_one!(reader, scalar "select count(*) from oidc_identities").unwrap()
        };
        link("https://one.example").await;
        while site.login("ada", "wrong horse battery").await.status == 401 {}

        site.forgot("ada@example.org").await;
        let (_, token) = site.mail().await;
        site.reset(&token, "a heron on the pier").await.expect(200);
        site.login("ada", "a heron on the pier").await.expect(200);
        assert_eq!(
            complaint(&site.verify(&thiefs).await),
            "is for an address that is no longer wanted"
        );
        assert_eq!(linked().await, 0);

        // By now the address is verified: who is linked stays.
        link("https://two.example").await;
        site.forgot("ada@example.org").await;
        let mails = site.mails().await;
        let mail = mails.iter().find(|mail| !super::token(mail).is_empty());
        let token = super::token(mail.unwrap());
        site.reset(&token, "a swift on the tower").await.expect(200);
        assert_eq!(linked().await, 1);
    }
);
