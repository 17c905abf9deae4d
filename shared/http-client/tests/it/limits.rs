//! Time-outs, the size of an answer, and what a request carries.

use std::sync::Arc;
use std::time::Duration;

use blocks::context::{self, RequestContext, Trace};
use events::{Context, Traceparent};
use http_client::{Kind, Retry};

use crate::client;
use crate::server::{Does, Server, header, ok};

#[tokio::test]
async fn the_total_time_out_covers_all_tries() {
    for script in [
        vec![Does::Never],
        vec![Does::Close(String::new()), Does::Never],
        vec![Does::Stall(
            "HTTP/1.1 200 x\r\ncontent-length: 9\r\n\r\nhal".into(),
        )],
    ] {
        let (server, tries) = (Server::doing(script.clone()).await, script.len());
        let limit = Duration::from_millis(400);
        let (client, metrics) = client(&server, |settings| settings.timeout = limit);
        let error = client.get("/").send().await.unwrap_err();
        assert_eq!(
            (error.kind(), server.heard().len()),
            (&Kind::Timeout(limit), tries)
        );
        let page = metrics.encode();
        let line = r#"http_client_errors_total{client="test",error="timeout"} 1"#;
        assert!(page.contains(line), "{page}");
    }
}

#[tokio::test]
async fn an_answer_that_is_late_but_in_time_is_taken_and_a_call_may_have_less_time() {
    let Does::Answer(text) = ok("late") else {
        unreachable!()
    };
    let server = Server::doing([Does::Late(Duration::from_millis(300), text)]).await;
    let (client, _) = client(&server, |_| {});
    assert_eq!(client.get("/").send().await.unwrap().text(), "late");
    let limit = Duration::from_millis(50);
    let error = client.get("/").timeout(limit).send().await.unwrap_err();
    assert_eq!(error.kind(), &Kind::Timeout(limit));
}

#[tokio::test]
async fn a_connection_on_which_nothing_comes_is_given_up_and_a_get_tried_again() {
    let stalls = Does::Stall("HTTP/1.1 200 x\r\ncontent-length: 9\r\n\r\nhal".into());
    for does in [Does::Never, stalls] {
        let server = Server::doing([does, ok("good")]).await;
        let idle = Duration::from_millis(300);
        let (client, _) = client(&server, |settings| settings.idle_timeout = idle);
        assert_eq!(client.get("/").send().await.unwrap().text(), "good");
    }
    let server = Server::doing([Does::Never]).await;
    let idle = Duration::from_millis(300);
    let (client, _) = client(&server, |settings| settings.idle_timeout = idle);
    let error = client.post("/").send().await.unwrap_err();
    assert_eq!((error.kind(), server.heard().len()), (&Kind::Idle(idle), 1));
}

#[tokio::test]
async fn no_more_is_read_than_the_limit() {
    let told = "HTTP/1.1 200 x\r\ncontent-length: 1000000\r\n\r\n";
    let chunked = "HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n";
    let until_closed = "HTTP/1.1 200 x\r\n\r\n";
    for (head, more) in [(told, "x"), (chunked, "4\r\nabcd\r\n"), (until_closed, "x")] {
        let server = Server::doing([Does::Endless(head.into(), more.into())]).await;
        let (client, _) = client(&server, |settings| settings.max_bytes = 1000);
        let error = client.get("/").send().await.unwrap_err();
        assert_eq!(
            (error.kind(), server.heard().len()),
            (&Kind::TooLarge(1000), 1)
        );
    }
    let server = Server::doing([ok(&"x".repeat(1000))]).await;
    let (client, _) = client(&server, |settings| settings.max_bytes = 1000);
    assert_eq!(client.get("/").send().await.unwrap().body.len(), 1000);
}

#[tokio::test]
async fn a_request_names_the_work_that_it_belongs_to_and_who_asks() {
    let server = Server::doing([ok("")]).await;
    let (client, _) = client(&server, |settings| {
        settings.consumer_id = Some("rookery".into());
        settings.retry = Retry::NEVER;
    });
    let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let own = Context {
        traceparent: Traceparent::parse(given),
        tracestate: Some("rojo=1".into()),
        correlation_id: Some("c-1".into()),
    };
    let request = Arc::new(RequestContext {
        trace: Trace { own, parent: None },
        ..RequestContext::default()
    });
    let work = async {
        client.get("/a").send().await.unwrap();
        client
            .get("/b")
            .correlation_id("mine")
            .send()
            .await
            .unwrap();
    };
    context::scope(request, work).await;
    client.get("/c").send().await.unwrap();
    let heard = server.heard();
    for (request, correlation) in [(&heard[0], "c-1"), (&heard[1], "mine")] {
        assert_eq!(header(request, "traceparent"), Some(given));
        assert_eq!(header(request, "tracestate"), Some("rojo=1"));
        assert_eq!(header(request, "x-correlation-id"), Some(correlation));
        assert_eq!(header(request, "x-consumer-id"), Some("rookery"));
        assert!(
            header(request, "user-agent")
                .unwrap()
                .starts_with("rookery/")
        );
    }
    // Work that nobody caused begins a trace, and is found by its id.
    let trace = Traceparent::parse(header(&heard[2], "traceparent").unwrap()).unwrap();
    assert_ne!(
        trace.trace_id(),
        Traceparent::parse(given).unwrap().trace_id()
    );
    assert_eq!(
        header(&heard[2], "x-correlation-id"),
        Some(trace.trace_id())
    );
    client.post("/d").send().await.unwrap();
    assert_eq!(header(&server.heard()[3], "content-length"), Some("0"));
    assert_eq!(server.connections(), 1, "it is kept alive");
}
