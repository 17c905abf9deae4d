//! What is tried again, and what is not.

use std::time::Duration;

use http_client::{Breaker, Kind, Retry};
use tokio::time::Instant;

use crate::client;
use crate::server::{Does, Server, answer, ok};

/// Half of an answer.
fn half() -> Does {
    Does::Close("HTTP/1.1 200 x\r\ncontent-length: 100\r\n\r\nhalf".into())
}

fn closed() -> Does {
    Does::Close(String::new())
}

#[tokio::test]
async fn a_get_is_tried_again_after_whatever_may_pass() {
    let failures = [
        closed(),
        half(),
        answer(429, &[("retry-after", "0")], ""),
        answer(502, &[], ""),
        answer(503, &[("retry-after", "Thu, 01 Jan 2026 12:00:00 GMT")], ""),
        answer(504, &[], ""),
    ];
    for failure in failures {
        let server = Server::doing([failure.clone(), ok("good")]).await;
        let (client, metrics) = client(&server, |_| {});
        let answer = client.get("/").send().await.unwrap();
        assert_eq!(
            (answer.status.as_u16(), answer.text().as_str()),
            (200, "good")
        );
        assert_eq!(server.heard().len(), 2, "{failure:?}");
        let page = metrics.encode();
        let retried = r#"http_client_retries_total{client="test",outcome="made"} 1"#;
        assert!(page.contains(retried), "{page}");
    }
}

#[tokio::test]
async fn a_post_that_the_server_read_is_not_sent_twice() {
    for failure in [closed(), half(), answer(503, &[], "")] {
        let server = Server::doing([failure.clone(), ok("good")]).await;
        let (client, _) = client(&server, |_| {});
        let sent = client.post("/").json(&[1]).send().await;
        match sent {
            Ok(answer) => assert_eq!(answer.status, 503),
            Err(error) => assert!(matches!(error.kind(), Kind::Broken(_)), "{error:?}"),
        }
        assert_eq!(server.heard().len(), 1, "{failure:?}");
    }
}

#[tokio::test]
async fn a_post_over_a_kept_connection_that_is_then_closed_is_not_sent_twice() {
    // Kept alive and closed at the next request: whether that took effect can't be known.
    let server = Server::doing([ok("first"), closed(), ok("third")]).await;
    let (client, _) = client(&server, |_| {});
    client.post("/").send().await.unwrap();
    let error = client.post("/").send().await.unwrap_err();
    assert!(matches!(error.kind(), Kind::Broken(_)), "{error:?}");
    assert_eq!((server.heard().len(), server.connections()), (2, 1));
    assert_eq!(client.post("/").send().await.unwrap().text(), "third");
}

#[tokio::test]
async fn a_post_with_a_key_or_that_is_marked_is_sent_again_as_it_was() {
    for marked in [false, true] {
        let server = Server::doing([closed(), ok("good")]).await;
        let (client, _) = client(&server, |_| {});
        let request = client.post("/mails").form(&[("to", "ada")]);
        let request = if marked {
            request.retryable()
        } else {
            request.idempotency_key("mail-7")
        };
        assert_eq!(request.send().await.unwrap().text(), "good");
        let heard = server.heard();
        assert_eq!(heard[0], heard[1]);
        assert!(heard[0].ends_with("\r\n\r\nto=ada"), "{heard:?}");
        assert_eq!(heard[0].contains("idempotency-key: mail-7"), !marked);
    }
}

#[tokio::test]
async fn no_more_is_tried_than_is_allowed_and_the_last_answer_is_given() {
    let server = Server::doing([answer(503, &[], "busy")]).await;
    let (client, _) = client(&server, |settings| settings.retry.most = 3);
    let answer = client.get("/").send().await.unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.text().as_str()),
        (503, "busy")
    );
    assert_eq!(server.heard().len(), 4);
    let error = answer.success().unwrap_err();
    assert_eq!(
        error.kind(),
        &Kind::Status(http::StatusCode::SERVICE_UNAVAILABLE)
    );
}

#[tokio::test]
async fn a_server_is_left_alone_for_as_long_as_it_says() {
    let server = Server::doing([answer(429, &[("retry-after", "1")], ""), ok("good")]).await;
    let (client, _) = client(&server, |_| {});
    let started = Instant::now();
    assert_eq!(client.get("/").send().await.unwrap().text(), "good");
    assert!(started.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_wait_past_the_end_of_the_call_is_not_begun() {
    let server = Server::doing([answer(503, &[("retry-after", "3600")], "")]).await;
    let (client, _) = client(&server, |_| {});
    assert_eq!(client.get("/").send().await.unwrap().status, 503);
    assert_eq!(server.heard().len(), 1);
}

#[tokio::test]
async fn an_outage_is_not_multiplied() {
    let server = Server::doing([answer(503, &[], "")]).await;
    let (client, metrics) = client(&server, |settings| {
        settings.breaker = None;
        settings.retry = Retry {
            most: 2,
            ratio: 0.2,
            per_second: 0.0,
            burst: 5.0,
        };
    });
    for _ in 0..30 {
        client.get("/").send().await.unwrap();
    }
    // Five were saved up; a fifth of 30 came in, a part of that while the bucket was full.
    let asked = server.heard().len();
    assert!((35..=41).contains(&asked), "{asked}");
    let page = metrics.encode();
    let refused = r#"http_client_retries_total{client="test",outcome="refused"}"#;
    assert!(page.contains(refused), "{page}");
}

#[tokio::test]
async fn nobody_asks_a_server_that_fails_until_a_probe_succeeds() {
    let failures = std::iter::repeat_n(answer(500, &[], ""), 4);
    let script: Vec<Does> = failures.chain([ok("good")]).collect();
    let server = Server::doing(script).await;
    let (client, metrics) = client(&server, |settings| {
        settings.breaker = Some(Breaker {
            minimum: 4,
            open_for: Duration::from_secs(1),
            ..Breaker::default()
        });
    });
    for _ in 0..4 {
        assert_eq!(client.get("/").send().await.unwrap().status, 500);
    }
    let state = |number: u8| {
        let line = format!(r#"http_client_breaker_state{{client="test"}} {number}"#);
        let page = metrics.encode();
        assert!(page.contains(&line), "{line} is not in\n{page}");
    };
    state(2);
    let error = client.get("/").send().await.unwrap_err();
    assert_eq!((error.kind(), server.heard().len()), (&Kind::Open, 4));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(client.get("/").send().await.unwrap().text(), "good");
    state(0);
    assert_eq!(client.get("/").send().await.unwrap().text(), "good");
}

#[tokio::test]
async fn a_caller_without_patience_does_not_open_the_breaker_for_others() {
    let mut script = vec![Does::Never; 8];
    script.push(ok("good"));
    let server = Server::doing(script).await;
    let (client, metrics) = client(&server, |settings| {
        settings.breaker = Some(Breaker {
            minimum: 4,
            ..Breaker::default()
        });
    });
    let soon = Duration::from_millis(20);
    for _ in 0..8 {
        let error = client.get("/").timeout(soon).send().await.unwrap_err();
        assert_eq!(error.kind(), &Kind::Timeout(soon));
    }
    assert_eq!(client.get("/").send().await.unwrap().text(), "good");
    let opened = r#"http_client_breaker_transitions_total{client="test",to="open"}"#;
    assert!(!metrics.encode().contains(opened));
}

#[tokio::test]
async fn a_server_that_takes_longer_than_the_api_may_opens_the_breaker() {
    let server = Server::doing([Does::Never]).await;
    let limit = Duration::from_millis(20);
    let (client, _) = client(&server, |settings| {
        settings.timeout = limit;
        settings.breaker = Some(Breaker {
            minimum: 4,
            ..Breaker::default()
        });
    });
    // Of those that wait longer, too.
    for timeout in [limit, limit, limit * 2, limit * 2] {
        let error = client.get("/").timeout(timeout).send().await.unwrap_err();
        assert_eq!(error.kind(), &Kind::Timeout(timeout));
    }
    let error = client.get("/").send().await.unwrap_err();
    assert_eq!((error.kind(), server.heard().len()), (&Kind::Open, 4));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_tried_again_whatever_the_method() {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let server = Server::doing([ok("")]).await;
    let (client, metrics) = client(&server, |settings| {
        settings.base_url = format!("http://{address}");
    });
    let error = client.post("/").send().await.unwrap_err();
    assert!(matches!(error.kind(), Kind::Connect(_)), "{error:?}");
    let page = metrics.encode();
    for line in [
        r#"http_client_errors_total{client="test",error="connect"} 3"#,
        r#"http_client_retries_total{client="test",outcome="made"} 2"#,
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
}
