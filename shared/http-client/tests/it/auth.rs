//! Credentials, and access tokens.

use std::time::Duration;

use http::StatusCode;
use http_client::{Auth, Client, Kind};
use tokio::time::Instant;

use crate::client;
use crate::server::{Does, Server, answer, header, ok};

fn token(token: &str, expires_in: &str) -> Does {
    let body =
        format!(r#"{{"access_token":"{token}","token_type":"bearer","expires_in":{expires_in}}}"#);
    answer(200, &[], &body)
}

fn tokens_of(issuer: &Server) -> Auth {
    Auth::parse(&format!("oauth2 a b {}/token", issuer.url())).unwrap()
}

/// A client of `api` with tokens of `issuer`.
fn with_tokens(api: &Server, issuer: &Server, style: &str) -> Client {
    let (client, _) = client(api, |settings| {
        let url = issuer.url();
        let auth = format!("{style} my:id hunter/2 {url}/token read write");
        settings.auth = Auth::parse(&auth).unwrap();
        settings.retry.most = 0;
    });
    client
}

#[tokio::test]
async fn each_way_of_showing_who_one_is_has_its_header() {
    for (auth, name, value) in [
        ("bearer abc", "authorization", "Bearer abc"),
        (
            "basic ada pass word",
            "authorization",
            "Basic YWRhOnBhc3Mgd29yZA==",
        ),
        ("api-key X-Api-Key abc", "x-api-key", "abc"),
    ] {
        let server = Server::doing([ok("")]).await;
        let (client, _) = client(&server, |settings| {
            settings.auth = Auth::parse(auth).unwrap();
        });
        // The client's own credentials win over whatever a caller sets.
        let request = client.get("/").header("authorization", "none");
        request.header("x-api-key", "none").send().await.unwrap();
        assert_eq!(header(&server.heard_once(), name), Some(value));
    }
}

#[tokio::test]
async fn one_token_is_fetched_for_all_who_wait_and_kept() {
    let (api, issuer) = (
        Server::doing([ok("")]).await,
        Server::doing([token("t1", "3600")]).await,
    );
    let client = with_tokens(&api, &issuer, "oauth2");
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let client = client.clone();
        calls.spawn(async move { client.get("/").send().await.unwrap().status });
    }
    assert!(calls.join_all().await.iter().all(|status| *status == 200));
    let asked = issuer.heard_once();
    assert!(asked.starts_with("POST /token HTTP"), "{asked}");
    // RFC 6749, 2.3.1: my%3Aid:hunter%2F2
    let pair = "Basic bXklM0FpZDpodW50ZXIlMkYy";
    assert_eq!(header(&asked, "authorization"), Some(pair));
    assert!(
        asked.ends_with("\r\n\r\ngrant_type=client_credentials&scope=read+write"),
        "{asked}"
    );
    let mut heard = api.heard().into_iter();
    assert!(heard.all(|request| header(&request, "authorization") == Some("Bearer t1")));
}

#[tokio::test]
async fn a_server_that_wants_it_gets_id_and_secret_in_the_body() {
    let (api, issuer) = (
        Server::doing([ok("")]).await,
        Server::doing([token("t1", "\"60\"")]).await,
    );
    with_tokens(&api, &issuer, "oauth2-post")
        .get("/")
        .send()
        .await
        .unwrap();
    let asked = issuer.heard_once();
    assert_eq!(header(&asked, "authorization"), None);
    assert!(
        asked.ends_with("&client_id=my%3Aid&client_secret=hunter%2F2"),
        "{asked}"
    );
}

#[tokio::test]
async fn a_token_that_ends_is_fetched_anew() {
    let issuer = Server::doing([token("t1", "1"), token("t2", "3600")]).await;
    let api = Server::doing([ok("")]).await;
    let client = with_tokens(&api, &issuer, "oauth2");
    for pause in [1100, 0, 0] {
        client.get("/").send().await.unwrap();
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    let heard = api.heard();
    let tokens: Vec<_> = heard
        .iter()
        .map(|request| header(request, "authorization"))
        .collect();
    assert_eq!(
        tokens,
        [Some("Bearer t1"), Some("Bearer t2"), Some("Bearer t2")]
    );
}

#[tokio::test]
async fn a_life_that_says_nothing_sensible_makes_nobody_fetch_tokens_again_and_again() {
    for told in [
        "0",
        "-1",
        "null",
        "\"soon\"",
        "[]",
        "18446744073709551615",
        "1e300",
    ] {
        let issuer = Server::doing([token("t1", told)]).await;
        let api = Server::doing([ok("")]).await;
        let client = with_tokens(&api, &issuer, "oauth2");
        for _ in 0..2 {
            let mut calls = tokio::task::JoinSet::new();
            for _ in 0..20 {
                let client = client.clone();
                calls.spawn(async move { client.get("/").send().await.unwrap().status });
            }
            assert!(calls.join_all().await.iter().all(|status| *status == 200));
        }
        assert_eq!((issuer.heard().len(), api.heard().len()), (1, 40), "{told}");
    }
}

#[tokio::test]
async fn an_issuer_is_left_alone_for_as_long_as_it_says() {
    for status in [429, 503] {
        let busy = answer(
            status,
            &[("retry-after", "1")],
            r#"{"error":"invalid_request"}"#,
        );
        let issuer = Server::doing([busy, token("t1", "3600")]).await;
        let api = Server::doing([ok("good")]).await;
        let (client, _) = client(&api, |settings| settings.auth = tokens_of(&issuer));
        let started = Instant::now();
        assert_eq!(client.post("/").send().await.unwrap().text(), "good");
        assert!(started.elapsed() >= Duration::from_secs(1));
    }
    // Past the end of the call it is not waited for.
    let issuer = Server::doing([answer(503, &[("retry-after", "3600")], "")]).await;
    let api = Server::doing([ok("good")]).await;
    let (client, _) = client(&api, |settings| settings.auth = tokens_of(&issuer));
    let error = client.get("/").send().await.unwrap_err();
    let why = Kind::Status(StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(error.kind(), &Kind::Token(Box::new(why)));
    assert_eq!((issuer.heard().len(), api.heard().len()), (1, 0));
}

#[tokio::test]
async fn a_refused_token_is_replaced_once_even_for_a_post() {
    let issuer = Server::doing([token("t1", "3600"), token("t2", "3600")]).await;
    let api = Server::doing([answer(401, &[], ""), ok("good"), answer(401, &[], "")]).await;
    let client = with_tokens(&api, &issuer, "oauth2");
    assert_eq!(
        client
            .post("/")
            .body("x", "text/plain")
            .send()
            .await
            .unwrap()
            .text(),
        "good"
    );
    let heard = api.heard();
    let tokens: Vec<_> = heard
        .iter()
        .map(|request| header(request, "authorization"))
        .collect();
    assert_eq!(tokens, [Some("Bearer t1"), Some("Bearer t2")]);
    assert!(heard[1].ends_with("\r\n\r\nx"), "{heard:?}");
    // Whoever is refused with a new one is refused.
    assert_eq!(client.get("/").send().await.unwrap().status, 401);
    assert_eq!((api.heard().len(), issuer.heard().len()), (4, 3));
}

#[tokio::test]
async fn a_lasting_refusal_fetches_no_more_tokens_than_the_budget_has() {
    let issuer = Server::doing([token("t", "3600")]).await;
    let api = Server::doing([answer(401, &[], "")]).await;
    let client = with_tokens(&api, &issuer, "oauth2");
    let calls = 1000;
    for _ in 0..calls {
        assert_eq!(client.get("/").send().await.unwrap().status, 401);
    }
    let (asked, fetched) = (api.heard().len(), issuer.heard().len());
    assert!(fetched < calls / 2, "{fetched} tokens");
    assert!(asked < calls + calls / 2, "{asked} requests");
}

#[tokio::test]
async fn many_whose_token_was_refused_fetch_one_new_token() {
    let issuer = Server::doing([token("t1", "3600"), token("t2", "3600")]).await;
    let api = Server::doing([Does::Wants("Bearer t2")]).await;
    let client = with_tokens(&api, &issuer, "oauth2");
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let client = client.clone();
        calls.spawn(async move { client.get("/").send().await.unwrap().status });
    }
    assert!(calls.join_all().await.iter().all(|status| *status == 200));
    assert_eq!(issuer.heard().len(), 2);
}

#[tokio::test]
async fn a_refusal_of_the_issuer_is_named_and_no_secret_is_shown() {
    let says = |status, body: &str| answer(status, &[], body);
    for (does, why) in [
        (
            says(401, r#"{"error":"invalid_client"}"#),
            Kind::Refused("invalid_client"),
        ),
        (
            says(400, r#"{"error":"hunter/2"}"#),
            Kind::Status(StatusCode::BAD_REQUEST),
        ),
        (says(302, ""), Kind::Status(StatusCode::FOUND)),
        (
            says(200, r#"{"access_token":5,"token_type":"hunter/2"}"#),
            Kind::Body("it grants no token, or is no JSON".into()),
        ),
        (
            says(200, r#"{"access_token":"hunter/2","token_type":"mac"}"#),
            Kind::Body("the token is no bearer token".into()),
        ),
    ] {
        let (api, issuer) = (Server::doing([ok("")]).await, Server::doing([does]).await);
        let client = with_tokens(&api, &issuer, "oauth2");
        let error = client.get("/").send().await.unwrap_err();
        assert_eq!(error.kind(), &Kind::Token(Box::new(why)));
        let shown = format!("{error:?} {}", blocks::error::chain(&error));
        assert!(!shown.contains("hunter"), "{shown}");
        assert_eq!(api.connections(), 0);
    }
}

#[tokio::test]
async fn those_who_waited_for_a_request_that_failed_share_its_failure() {
    let fails = Does::Late(
        Duration::from_millis(300),
        "HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n".into(),
    );
    let (api, issuer) = (Server::doing([ok("")]).await, Server::doing([fails]).await);
    let client = with_tokens(&api, &issuer, "oauth2");
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let client = client.clone();
        calls.spawn(async move { client.get("/").send().await.unwrap_err() });
    }
    let errors = calls.join_all().await;
    assert_eq!(errors.len(), 20);
    assert_eq!(issuer.heard().len(), 1);
}

#[tokio::test]
async fn a_token_that_fails_for_a_while_is_fetched_again_and_a_dead_issuer_ends_with_the_call() {
    let (api, issuer) = (
        Server::doing([ok("good")]).await,
        Server::doing([answer(503, &[], ""), token("t1", "3600"), Does::Never]).await,
    );
    let (client, _) = client(&api, |settings| settings.auth = tokens_of(&issuer));
    assert_eq!(client.post("/").send().await.unwrap().text(), "good");
    let dead = Server::doing([Does::Never]).await;
    let client = with_tokens(&api, &dead, "oauth2");
    let limit = Duration::from_millis(200);
    let error = client.get("/").timeout(limit).send().await.unwrap_err();
    assert_eq!(error.kind(), &Kind::Token(Box::new(Kind::Timeout(limit))));
}
