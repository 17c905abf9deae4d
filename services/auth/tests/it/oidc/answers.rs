//! What browsers and providers may answer, and what must not sign anybody in.

use chrono::TimeDelta;
use openidconnect::url::Url;
use serde_json::{Value, json};

use super::provider::{Does, Key};
use super::{Browser, Site};

#[tokio::test]
async fn a_state_signs_in_once_in_the_browser_that_began() {
    let site = Site::fresh().await;
    let mut browser = Browser::default();
    let back = site.way_back(&mut browser, "").await;
    // Another browser, one without cookies, and the same at another provider.
    let mut other = Browser::default();
    site.start(&mut other, "").await;
    site.ask(&mut other, &back)
        .await
        .problem(400, "oidc_state_invalid");
    site.ask(&mut Browser::default(), &back)
        .await
        .problem(400, "oidc_state_invalid");
    let elsewhere = back.replace("/acme/", "/gone/");
    site.ask(&mut browser, &elsewhere)
        .await
        .problem(400, "oidc_state_invalid");
    for bad in [
        "",
        "?code=code-0",
        "?state=&code=code-0",
        "?state=x",
        "?state=%F0%9F%92%A9&code=code-0",
    ] {
        let path = format!("/api/auth/oidc/acme/callback{bad}");
        site.ask(&mut browser, &path)
            .await
            .problem(400, "oidc_state_invalid");
    }
    let twice = format!("{back}&state=x");
    site.ask(&mut browser, &twice)
        .await
        .problem(400, "validation_failed");
    let mut kept = browser.clone();
    site.ask(&mut browser, &back).await.expect(200);
    // The browser has forgotten it. Whoever kept the cookie gains nothing, even if the provider takes the code again.
    site.ask(&mut browser, &back)
        .await
        .problem(400, "oidc_state_invalid");
    site.ask(&mut kept, &back)
        .await
        .problem(400, "oidc_state_invalid");
    assert_eq!(
        (
            site.count("sessions").await,
            site.count("oidc_states").await
        ),
        (1, 1)
    );
    // Ten minutes are enough.
    let mut late = Browser::default();
    let back = site.way_back(&mut late, "").await;
    site.world.clock.advance(TimeDelta::minutes(10));
    site.ask(&mut late, &back)
        .await
        .problem(400, "oidc_state_invalid");
    // Used ones are forgotten when they have expired.
    site.sign_in().await.expect(200);
    assert_eq!(site.count("oidc_states").await, 1);
}

#[tokio::test]
async fn several_windows_of_a_browser_sign_in() {
    let site = Site::fresh().await;
    let mut browser = Browser::default();
    let one = site.way_back(&mut browser, "").await;
    let other = site.way_back(&mut browser, "").await;
    site.ask(&mut browser, &one).await.expect(200);
    site.ask(&mut browser, &other).await.expect(200);
}

#[tokio::test]
async fn what_the_provider_refuses_is_told() {
    let site = Site::fresh().await;
    let refused = async |query: &str| {
        let mut browser = Browser::default();
        let url: Url = site.start(&mut browser, "").await.parse().unwrap();
        let (_, state) = url.query_pairs().find(|(name, _)| name == "state").unwrap();
        let path = format!("/api/auth/oidc/acme/callback?state={state}{query}");
        site.ask(&mut browser, &path).await
    };
    let denied = "&error=access_denied&error_description=no+thanks";
    refused(denied).await.problem(403, "oidc_access_denied");
    refused("&error=login_required")
        .await
        .problem(403, "oidc_interaction_required");
    let problem = refused("&error=%3Cscript%3Eserver_error")
        .await
        .expect_problem(403, "oidc_refused");
    assert_eq!(
        problem["detail"],
        "the provider refused: scriptserver_error"
    );
    refused("&code=made-up")
        .await
        .problem(400, "oidc_code_refused");
    refused("").await.problem(400, "oidc_code_refused");
    // The answer of another provider.
    let mixed = "&code=code-0&iss=https%3A%2F%2Fevil.example.com";
    refused(mixed).await.problem(400, "oidc_state_invalid");
    assert_eq!(site.count("users").await, 0);
}

#[tokio::test]
async fn a_browser_may_say_what_the_provider_shall_ask() {
    let site = Site::fresh().await;
    let url = site
        .start(&mut Browser::default(), "?prompt=select_account")
        .await;
    assert!(url.contains("&prompt=select_account"), "{url}");
    assert!(
        !site
            .start(&mut Browser::default(), "")
            .await
            .contains("prompt")
    );
    for (query, field) in [("?prompt=x", "prompt"), ("?promt=none", "promt")] {
        let path = format!("/api/auth/oidc/acme/start{query}");
        let answer = site.ask(&mut Browser::default(), &path).await;
        assert_eq!(answer.problem(400, "validation_failed"), [field]);
    }
}

#[tokio::test]
async fn nobody_is_signed_in_by_a_provider_that_is_not_there() {
    let site = Site::fresh().await;
    for path in [
        "/api/auth/oidc/nobody/start",
        "/api/auth/oidc/ACME/start",
        "/api/auth/oidc/nobody/callback?state=x",
    ] {
        site.ask(&mut Browser::default(), path)
            .await
            .problem(404, "provider_not_found");
    }
    let away = site
        .ask(&mut Browser::default(), "/api/auth/oidc/gone/start")
        .await;
    away.problem(503, "upstream_unavailable");
    assert!(away.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn a_provider_that_is_slow_or_answers_rubbish_is_told_apart() {
    for (does, status, code) in [
        (Does::Slow, 504, "upstream_timeout"),
        (Does::Status(500), 502, "upstream_failed"),
        (Does::Status(404), 502, "upstream_failed"),
        (Does::NoJson, 502, "upstream_failed"),
        (Does::Huge, 502, "upstream_failed"),
        (Does::Other, 502, "upstream_failed"),
    ] {
        let site = Site::fresh().await;
        site.provider.does.lock().discovery = does;
        let start = "/api/auth/oidc/acme/start";
        site.ask(&mut Browser::default(), start)
            .await
            .problem(status, code);
        // It is asked again at once.
        site.provider.does.lock().discovery = Does::Well;
        site.start(&mut Browser::default(), "").await;
        let code = if does == Does::Other {
            "oidc_token_refused"
        } else {
            code
        };
        site.provider.does.lock().token = does;
        site.sign_in().await.problem(status, code);
        site.provider.does.lock().token = Does::Well;
        if does != Does::Other {
            site.provider.set("email", Value::Null);
            site.provider.does.lock().userinfo = does;
            site.sign_in().await.problem(status, code);
        }
        assert_eq!(site.count("users").await, 0);
    }
}

#[tokio::test]
async fn an_id_token_must_be_of_this_provider_for_this_site_and_this_attempt() {
    let site = Site::fresh().await;
    for (name, value, status, code) in [
        ("nonce", json!("another"), 400, "oidc_nonce_invalid"),
        ("nonce", Value::Null, 400, "oidc_nonce_invalid"),
        (
            "iss",
            json!("https://evil.example.com"),
            502,
            "oidc_token_refused",
        ),
        (
            "iss",
            json!(format!("{}/", site.provider.issuer)),
            502,
            "oidc_token_refused",
        ),
        ("aud", json!("another"), 502, "oidc_token_refused"),
        (
            "aud",
            json!(["rookery", "another"]),
            502,
            "oidc_token_refused",
        ),
        ("sub", json!(""), 502, "oidc_token_refused"),
        ("sub", json!("x".repeat(256)), 502, "oidc_token_refused"),
    ] {
        site.provider.set(name, value);
        site.sign_in().await.problem(status, code);
        site.provider.does.lock().claims.clear();
    }
    site.provider.does.lock().published =
        Some(json!({"kty": "EC", "crv": "P-256", "kid": "first", "x": "AA", "y": "AA"}));
    site.sign_in().await.expect(200); // by the keys that are known
    assert_eq!(site.count("users").await, 1);
}

#[tokio::test]
async fn clocks_may_differ_by_a_minute() {
    let site = Site::fresh().await;
    let now = blocks::Clock::now(&*site.world.clock).timestamp();
    for (issued, expires, good) in [
        (59, 3_600, true),
        (61, 3_600, false),
        (-59, -59, true),
        (-60, -60, false),
        (-659, 3_600, true),
        (-661, 3_600, false),
        (-7_200, -3_600, false),
    ] {
        site.provider.set("iat", json!(now + issued));
        site.provider.set("exp", json!(now + expires));
        let answer = site.sign_in().await;
        if good {
            answer.expect(200);
        } else {
            answer.problem(502, "oidc_token_refused");
        }
    }
}

#[tokio::test]
async fn keys_are_read_anew_when_another_one_signs() {
    let site = Site::fresh().await;
    site.sign_in().await.expect(200);
    site.provider.does.lock().heard.clear();
    site.sign_in().await.expect(200);
    assert_eq!(
        site.provider.does.lock().heard,
        ["token"],
        "what is known is not asked for"
    );
    // Under a new name, and under the same.
    for kid in ["second", "second"] {
        {
            let mut does = site.provider.does.lock();
            does.heard.clear();
            does.key = Key::new(kid);
        }
        site.sign_in().await.expect(200);
        assert_eq!(
            site.provider.does.lock().heard,
            ["token", "discovery", "keys"]
        );
    }
    // One that is not published signs nobody in.
    let published = site.provider.does.lock().key.public();
    {
        let mut does = site.provider.does.lock();
        does.key = Key::new("third");
        does.published = Some(published);
    }
    site.sign_in().await.problem(502, "oidc_token_refused");
    site.provider.does.lock().keys = Does::NoJson;
    site.sign_in().await.problem(502, "upstream_failed");
    // An hour later they are read without a reason.
    {
        let mut does = site.provider.does.lock();
        (does.published, does.keys) = (None, Does::Well);
        does.heard.clear();
    }
    site.world.clock.advance(TimeDelta::hours(1));
    site.sign_in().await.expect(200);
    assert_eq!(
        site.provider.does.lock().heard,
        ["discovery", "keys", "token"]
    );
}
