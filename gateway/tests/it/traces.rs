//! One trace goes through request, relay and consumers, whether or not it is sampled.

use serde_json::{Map, Value, json};

use crate::world::{Folder, read};

const CALLER: &str = "b7ad6b7169203331";

/// The headers of the records on `topic`.
async fn headers(folder: &Folder, topic: &str) -> Vec<Map<String, Value>> {
    let tail = folder.run(&["events", "tail", topic, "--json"]).await;
    let headers = |line: &str| {
        let record: Value = serde_json::from_str(line).unwrap();
        let headers = record["headers"].as_array().unwrap().iter();
        let pair = |header: &Value| (header[0].as_str().unwrap().to_owned(), header[1].clone());
        headers.map(pair).collect()
    };
    tail.well().lines().map(headers).collect()
}

#[tokio::test]
async fn a_trace_passes_through_request_relay_and_consumers_sampled_or_not() {
    let folder = Folder::new();
    let rookery = folder
        .serve_with(&[("LOG_FORMAT", "json"), ("LOG_LEVEL", "info,blocks=debug")])
        .await;
    let (_, token) = rookery.join("ada").await;
    let given = ["01", "00"].map(|flags| (flags, format!("0af7651916cd43dd8448eb211c8031{flags}")));
    for (flags, trace) in &given {
        let request = rookery
            .client
            .request("POST", "/api/posts")
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .header("traceparent", format!("00-{trace}-{CALLER}-{flags}"))
            .header("tracestate", "rojo=1, congo=2")
            .header("x-correlation-id", format!("order-{flags}"))
            .body(json!({"title": flags, "content": "c"}).to_string())
            .unwrap();
        let answer = rookery.client.give(request).await;
        answer.expect(201);
        assert_eq!(answer.headers["x-correlation-id"], format!("order-{flags}"));
        assert!(answer.headers.contains_key("x-request-id"));
    }
    rookery.shows(&["00", "01"]).await;
    let posted = headers(&folder, "posts-events").await;
    let registered = headers(&folder, "user.events").await;
    rookery.stop().await;

    let output = read(&folder.file("stdout"));
    let lines: Vec<Value> = output
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for (flags, trace) in given {
        let carries =
            |event: &&Map<String, Value>| event["traceparent"].to_string().contains(&trace);
        let event = posted.iter().find(carries).unwrap();
        let span = &event["traceparent"].as_str().unwrap()[36..52];
        assert_eq!(event["traceparent"], format!("00-{trace}-{span}-{flags}"));
        assert_ne!(span, CALLER, "the request is a span of its own");
        assert_eq!(event["tracestate"], "rojo=1,congo=2");
        assert_eq!(event["correlation-id"], format!("order-{flags}"));
        assert_eq!(event["ce_sequence"], "1");
        let line = |message: &str| {
            let is_it = |line: &&Value| {
                line["trace_id"] == *trace && line["message"].as_str().unwrap().contains(message)
            };
            let found = lines.iter().find(is_it);
            let found = found.unwrap_or_else(|| panic!("{message} of {trace} in {output}"));
            assert_eq!(found["span_id"], span, "{found}");
            assert_eq!(found["correlation_id"], format!("order-{flags}"), "{found}");
            found
        };
        assert_eq!(line("POST /api/posts 201")["parent_span_id"], CALLER);
        assert_eq!(line("published an event")["service"], "posts");
        let consumed = line("took in an event");
        assert_eq!(
            (&consumed["group"], &consumed["event.type"]),
            (&json!("feed-generator"), &json!("post.created"))
        );
    }
    // A request that brings no trace begins one, which is sampled.
    let begun = registered[0]["traceparent"].as_str().unwrap();
    assert!(
        begun.starts_with("00-") && begun.ends_with("-01"),
        "{begun}"
    );
    assert!(!registered[0].contains_key("tracestate"));
}
