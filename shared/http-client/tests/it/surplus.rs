//! Answers that nobody asked for: they are never taken for the answer to the next request.
//!
//! What is expected of hyper: bytes on a connection that waits for no answer are an error, and the connection
//! is closed. It looks for such bytes before it writes a request, so that one goes over another connection.

use std::time::Duration;

use http::Method;
use http_client::{Kind, Retry};

use crate::client;
use crate::server::{Does, Server, ok};

const SURPLUS: &str = "HTTP/1.1 200 x\r\ncontent-length: 7\r\n\r\nsurplus";

/// 200 with `body`.
fn text(body: &str) -> String {
    format!(
        "HTTP/1.1 200 x\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_answer_to_one_request_is_not_the_next_ones() {
    for later in [None, Some(Duration::from_millis(50))] {
        for method in [Method::GET, Method::POST] {
            let answers = match later {
                None => Does::Answer(text("first") + SURPLUS),
                Some(later) => Does::Twice(text("first"), later, SURPLUS.into()),
            };
            let server = Server::doing([answers, ok("second"), ok("third")]).await;
            let (client, _) = client(&server, |settings| settings.retry = Retry::NEVER);
            let first = client.request(method.clone(), "/1").send().await.unwrap();
            assert_eq!(first.text(), "first");
            // Until all of it is there. What comes after the next request was sent looks like its answer.
            tokio::time::sleep(later.unwrap_or_default() * 6).await;
            for (path, body) in [("/2", "second"), ("/3", "third")] {
                let answer = client.request(method.clone(), path).send().await;
                assert_eq!(answer.unwrap().text(), body, "{method} {later:?}");
            }
            assert_eq!((server.heard().len(), server.connections()), (3, 2));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_answer_right_behind_the_first_is_never_taken_by_calls_in_a_row() {
    let server = Server::doing([Does::Answer(text("own") + SURPLUS)]).await;
    let (client, _) = client(&server, |settings| settings.retry = Retry::NEVER);
    for number in 1..=200 {
        let answer = client.post("/").send().await.unwrap();
        assert_eq!(answer.text(), "own", "call {number}");
    }
    assert_eq!(server.heard().len(), 200);
}

#[tokio::test]
async fn a_body_where_there_can_be_none_is_not_the_next_answer() {
    // What follows the head of an answer to HEAD, or of a 204, looks like an answer.
    let head = text("first").replace("first", SURPLUS);
    let none = format!("HTTP/1.1 204 x\r\n\r\n{SURPLUS}");
    for (method, answer) in [(Method::HEAD, head), (Method::DELETE, none)] {
        let server = Server::doing([Does::Answer(answer), ok("second")]).await;
        let (client, _) = client(&server, |settings| settings.retry = Retry::NEVER);
        let first = client.request(method, "/").send().await.unwrap();
        assert_eq!(first.text(), "");
        assert_eq!(client.get("/").send().await.unwrap().text(), "second");
        assert_eq!(server.connections(), 2);
    }
}

#[tokio::test]
async fn the_late_answer_to_a_call_that_was_given_up_is_not_the_next_ones() {
    let late = Does::Late(Duration::from_millis(200), text("late"));
    let server = Server::doing([ok("first"), late, ok("third")]).await;
    let (client, _) = client(&server, |_| {});
    assert_eq!(client.get("/").send().await.unwrap().text(), "first");
    let soon = Duration::from_millis(20);
    let given_up = client.get("/").timeout(soon).send().await.unwrap_err();
    assert_eq!(given_up.kind(), &Kind::Timeout(soon));
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(client.get("/").send().await.unwrap().text(), "third");
}
