//! Whose account a person gets.

use std::sync::Arc;

use auth::mails::MailSettings;
use blocks::{ManualClock, Role};
use serde_json::{Value, json};

use super::{Browser, Site};
use crate::signing_in;
use crate::world::PASSWORD;

signing_in!(
    a_new_person_gets_an_account_and_the_same_ever_after,
    |site: Site| async move {
        let list = site
            .world
            .send("GET", "/api/auth/oidc/providers", None, &Value::Null)
            .await;
        let listed = json!({"name": "acme", "start": "/api/auth/oidc/acme/start"});
        assert_eq!(list.expect(200)["providers"][0], listed);
        let answer = site.sign_in().await;
        assert_eq!(answer.headers["cache-control"], "no-store");
        assert_eq!(answer.json()["token_type"], "bearer");
        let ada = site.account(&answer).await;
        assert_eq!(
            (&ada["email"], &ada["username"]),
            (&json!("ada@example.org"), &json!("ada"))
        );
        assert_eq!(
            (&ada["full_name"], &ada["first_name"]),
            (&json!("Ada Lovelace"), &json!("Ada"))
        );
        assert_eq!(
            (&ada["role"], &ada["email_verified"]),
            (&json!("user"), &json!(true))
        );
        let id = ada["id"].as_i64().unwrap();
        let events = site.world.events(id).await;
        let types: Vec<&str> = events.iter().map(|(of, _)| of.as_str()).collect();
        assert_eq!(types, ["user.created", "user.authenticated"]);
        // It has no password, and no wrong one says so.
        for password in ["", " ", PASSWORD] {
            let body = json!({"username": "ada", "password": password});
            let login = site
                .world
                .send("POST", "/api/auth/login", None, &body)
                .await;
            if password.is_empty() {
                login.problem(400, "validation_failed");
            } else {
                login.problem(401, "bad_credentials");
            }
        }
        // The address may change on both sides: the subject decides.
        site.provider.set("email", json!("countess@example.org"));
        let again = site.account(&site.sign_in().await).await;
        assert_eq!(
            (&again["id"], &again["email"]),
            (&json!(id), &json!("ada@example.org"))
        );
        // Nobody needs to tell an address any more.
        site.provider.set("email", Value::Null);
        assert_eq!(site.account(&site.sign_in().await).await["id"], id);
        assert_eq!(
            (
                site.count("users").await,
                site.count("oidc_identities").await
            ),
            (1, 1)
        );
    }
);

signing_in!(
    an_account_is_linked_only_by_an_address_that_both_sides_verified,
    |site: Site| async move {
        let id = site.world.register("ada").await;
        let refused = async || {
            let answer = site.sign_in().await;
            let problem = answer.expect_problem(409, "email_taken");
            assert!(
                problem["detail"]
                    .as_str()
                    .unwrap()
                    .contains("log in by password"),
                "{problem}"
            );
            // Nothing is half made.
            assert_eq!(
                site.count("oidc_identities").await + site.count("sessions").await,
                0
            );
            assert_eq!(
                (site.count("users").await, site.count("oidc_states").await),
                (1, 0)
            );
        };
        refused().await;
        site.verify(id).await;
        site.provider.set("email_verified", json!(false));
        refused().await;
        site.provider.set("email_verified", Value::Null);
        refused().await;
        site.provider.set("email_verified", json!(true));
        site.provider.set("email", json!("ADA@Example.ORG"));
        assert_eq!(site.account(&site.sign_in().await).await["id"], id);
        // The password is what it was.
        site.world.login("ada").await;
        // Somebody else who got the address there later is somebody else.
        site.provider.set("sub", json!("another-1852"));
        site.sign_in().await.problem(409, "email_taken");
        assert_eq!(
            (
                site.count("users").await,
                site.count("oidc_identities").await
            ),
            (1, 1)
        );
    }
);

signing_in!(
    names_are_made_unique_and_an_unverified_address_stays_so,
    |site: Site| async move {
        site.world.register_as("ada", "other@example.org").await;
        site.provider.set("email_verified", json!(false));
        let ada = site.account(&site.sign_in().await).await;
        let name = ada["username"].as_str().unwrap();
        assert!(
            name.starts_with("ada-") && ada["email_verified"] == false,
            "{ada}"
        );
        // Whoever verifies it later at the provider was there before.
        site.provider.set("email_verified", json!(true));
        assert_eq!(site.account(&site.sign_in().await).await["id"], ada["id"]);
    }
);

signing_in!(
    first_sign_ins_at_once_make_one_account,
    |site: Site| async move {
        let all = (0..6).map(|_| site.sign_in());
        let all = futures::future::join_all(all).await;
        for answer in &all {
            assert_eq!(site.account(answer).await["username"], "ada");
        }
        assert_eq!(
            (
                site.count("users").await,
                site.count("oidc_identities").await
            ),
            (1, 1)
        );
    }
);

signing_in!(
    nobody_is_signed_in_to_an_account_that_is_not_active_or_gone,
    |site: Site| async move {
        let admin = site.world.with_role("root", Role::Admin).await;
        let token = site.sign_in().await.expect(200)["access_token"]
            .as_str()
            .unwrap()
            .to_owned();
        let id = site.world.get("/api/auth/me", &token).await.json()["id"]
            .as_i64()
            .unwrap();
        let path = format!("/api/v1/users/{id}");
        let off = site
            .world
            .send("PUT", &path, Some(&admin), &json!({"is_active": false}))
            .await;
        off.expect(200);
        site.sign_in().await.problem(403, "account_inactive");
        assert!(!site.world.accepts(&token).await);
        // Its identity goes with it, and counts.
        site.world
            .send("DELETE", &path, Some(&admin), &Value::Null)
            .await
            .expect(200);
        assert_eq!(site.count("oidc_identities").await, 0);
        let erasure = site
            .world
            .get(&format!("{path}/erasure"), &admin)
            .await
            .expect(200);
        let auth = &erasure["services"][0];
        assert_eq!(
            (&auth["service"], &auth["records"]),
            (&json!("auth"), &json!(3)),
            "{erasure}"
        );
        let other = site.account(&site.sign_in().await).await;
        assert_ne!(other["id"], id);
    }
);

signing_in!(
    one_that_is_not_active_is_not_linked,
    |site: Site| async move {
        let admin = site.world.with_role("root", Role::Admin).await;
        let id = site.world.register("ada").await;
        site.verify(id).await;
        let path = format!("/api/v1/users/{id}");
        site.world
            .send("PUT", &path, Some(&admin), &json!({"is_active": false}))
            .await
            .expect(200);
        site.sign_in().await.problem(403, "account_inactive");
        assert_eq!(site.count("oidc_identities").await, 0);
    }
);

#[tokio::test]
async fn without_an_address_there_is_no_account() {
    let site = Site::fresh().await;
    site.provider.set("email", Value::Null);
    site.sign_in().await.problem(403, "oidc_email_missing");
    for bad in ["", "ada", "ada@\u{0}.org"] {
        site.provider.set("email", json!(bad));
        site.sign_in().await.problem(403, "oidc_email_invalid");
    }
    assert_eq!(site.count("users").await, 0);
    // Some tell it only there, and of nobody else.
    site.provider.set("email", Value::Null);
    site.provider.does.lock().told =
        json!({"sub": "another", "email": "ada@example.org", "email_verified": true});
    site.sign_in().await.problem(502, "oidc_token_refused");
    site.provider.does.lock().told["sub"] = json!("ada-1815");
    let ada = site.account(&site.sign_in().await).await;
    assert_eq!(
        (&ada["email"], &ada["email_verified"]),
        (&json!("ada@example.org"), &json!(true))
    );
    site.provider.does.lock().heard.clear();
    site.provider.set("email", json!("ada@example.org"));
    site.sign_in().await.expect(200);
    assert!(
        !site.provider.does.lock().heard.contains(&"userinfo"),
        "it was told already"
    );
}

#[tokio::test]
async fn names_that_no_account_may_have_are_left_out() {
    let site = Site::fresh().await;
    site.provider.set("name", json!("A\u{0}da"));
    site.provider.set("given_name", json!("x".repeat(201)));
    site.provider.set("family_name", json!("  "));
    let ada = site.account(&site.sign_in().await).await;
    for field in ["full_name", "first_name", "last_name"] {
        assert!(ada[field].is_null(), "{ada}");
    }
    let mut browser = Browser::default();
    site.start(&mut browser, "").await;
}

#[tokio::test]
async fn where_it_is_required_only_a_verified_address_signs_in_and_nothing_is_half_made() {
    let clock = Arc::new(ManualClock::default());
    let db = testkit::db::sqlite_at("auth", auth::MIGRATIONS, clock.clone()).await;
    let mails = MailSettings {
        requires_verified: true,
        ..MailSettings::default()
    };
    let site = Site::open_with(db, clock, mails).await;
    site.provider.set("email_verified", json!(false));
    site.sign_in().await.problem(403, "email_unverified");
    let made = site.count("users").await + site.count("oidc_identities").await;
    assert_eq!(made, 0);
    site.provider.set("email_verified", json!(true));
    let account = site.account(&site.sign_in().await).await;
    // What the provider says of the address counts later, too.
    let id = account["id"].as_i64().unwrap();
    site.set_verified(id, false).await;
    site.provider.set("email_verified", json!(false));
    site.sign_in().await.problem(403, "email_unverified");
    site.provider.set("email_verified", json!(true));
    let account = site.account(&site.sign_in().await).await;
    assert_eq!(account["email_verified"], true);
}
