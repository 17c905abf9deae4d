//! Verifying addresses.

use super::*;

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
