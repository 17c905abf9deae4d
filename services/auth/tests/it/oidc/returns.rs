//! Going on at a page, with a code.

use auth::commands::EndSessions;
use blocks::{Mediator, Role};
use chrono::TimeDelta;
use serde_json::json;

use super::{Browser, Site, location};
use crate::signing_in;

const PAGE: &str = "?return_to=https://app.example.org/in%3Fstate%3Dmine";

/// The code that a page gets at the end of a sign-in.
async fn code(site: &Site) -> String {
    let mut browser = Browser::default();
    let back = site.way_back(&mut browser, PAGE).await;
    let answer = site.ask(&mut browser, &back).await;
    assert_eq!(answer.status.as_u16(), 303, "{}", answer.text());
    let page = location(&answer);
    let code = page.strip_prefix("https://app.example.org/in?state=mine&code=");
    code.unwrap_or_else(|| panic!("{page}")).to_owned()
}

signing_in!(
    a_page_exchanges_its_code_once_within_a_minute,
    |site: Site| async move {
        let first = code(&site).await;
        assert_eq!(
            site.count("sessions").await,
            0,
            "it begins with the exchange"
        );
        let ada = site.account(&site.exchange(&first).await).await;
        assert_eq!(ada["username"], "ada");
        site.exchange(&first)
            .await
            .problem(404, "oidc_code_not_found");
        for bad in ["", "x", &"x".repeat(10_000)] {
            site.exchange(bad).await.problem(404, "oidc_code_not_found");
        }
        let late = code(&site).await;
        site.world.clock.advance(TimeDelta::minutes(1));
        site.exchange(&late)
            .await
            .problem(404, "oidc_code_not_found");
        let body = json!({"code": "x", "cod": "x"});
        let answer = site
            .world
            .send("POST", "/api/auth/oidc/exchange", None, &body)
            .await;
        assert_eq!(answer.problem(400, "validation_failed"), ["cod"]);
        // Only its hash is stored, and that is forgotten with the next one.
        code(&site).await;
        assert_eq!(site.count("oidc_codes").await, 1);
        assert_eq!(
            site.world.events(ada["id"].as_i64().unwrap()).await.len(),
            2
        );
    }
);

signing_in!(of_exchanges_at_once_one_counts, |site: Site| async move {
    let code = code(&site).await;
    let all = (0..6).map(|_| site.exchange(&code));
    let all = futures::future::join_all(all).await;
    let good = all.iter().filter(|answer| answer.status.as_u16() == 200);
    assert_eq!((good.count(), site.count("sessions").await), (1, 1));
    let refused = all.iter().filter(|answer| answer.status.as_u16() != 200);
    refused.for_each(|answer| drop(answer.problem(404, "oidc_code_not_found")));
});

signing_in!(a_code_ends_with_the_sessions, |site: Site| async move {
    let admin = site.world.with_role("root", Role::Admin).await;
    let first = code(&site).await;
    let ada = site.account(&site.exchange(&first).await).await;
    let user_id = ada["id"].as_i64().unwrap();
    let held = code(&site).await;
    let end = EndSessions { user_id, but: None };
    site.world.auth.send(end).await.unwrap();
    site.exchange(&held)
        .await
        .problem(404, "oidc_code_not_found");
    let held = code(&site).await;
    let path = format!("/api/v1/users/{user_id}");
    let (off, on) = (json!({"is_active": false}), json!({"is_active": true}));
    site.world
        .send("PUT", &path, Some(&admin), &off)
        .await
        .expect(200);
    site.exchange(&held)
        .await
        .problem(404, "oidc_code_not_found");
    site.world
        .send("PUT", &path, Some(&admin), &on)
        .await
        .expect(200);
    site.exchange(&held)
        .await
        .problem(404, "oidc_code_not_found");
    let held = code(&site).await;
    site.world
        .send("DELETE", &path, Some(&admin), &serde_json::Value::Null)
        .await
        .expect(200);
    site.exchange(&held)
        .await
        .problem(404, "oidc_code_not_found");
});

#[tokio::test]
async fn a_page_is_told_why_nobody_was_signed_in() {
    let site = Site::fresh().await;
    site.world.register("ada").await;
    let mut browser = Browser::default();
    let back = site.way_back(&mut browser, PAGE).await;
    let answer = site.ask(&mut browser, &back).await;
    assert_eq!(
        location(&answer),
        "https://app.example.org/in?state=mine&error=email_taken"
    );
    let back = site.way_back(&mut browser, "?return_to=/in%23top").await;
    let denied = back.replace("&code=", "&error=access_denied&other=");
    let answer = site.ask(&mut browser, &denied).await;
    assert_eq!(
        location(&answer),
        "https://api.example.org/in?error=oidc_access_denied#top"
    );
    // Whoever did not begin here is sent nowhere.
    site.ask(&mut Browser::default(), &back)
        .await
        .problem(400, "oidc_state_invalid");
}

#[tokio::test]
async fn a_browser_is_sent_to_no_foreign_origin() {
    let site = Site::fresh().await;
    for foreign in [
        "https://evil.example.com/",
        "//evil.example.com",
        "/%5Cevil.example.com",
        "https://app.example.org@evil.example.com",
        "javascript:alert(1)",
        "https://app.example.org/?code=mine",
    ] {
        let path = format!("/api/auth/oidc/acme/start?return_to={foreign}");
        let answer = site.ask(&mut Browser::default(), &path).await;
        assert_eq!(answer.problem(400, "validation_failed"), ["return_to"]);
        assert!(!answer.headers.contains_key("set-cookie"));
    }
    assert_eq!(
        site.provider.does.lock().heard.len(),
        0,
        "the provider is not asked for that"
    );
}
