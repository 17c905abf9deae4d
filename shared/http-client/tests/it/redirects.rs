//! Redirects: not followed unless that was asked for, and then to the same origin.

use http::Method;

use http_client::Auth;

use crate::client;
use crate::server::{Does, Server, answer, header, ok};

fn to(location: &str) -> Does {
    answer(302, &[("location", location)], "")
}

#[tokio::test]
async fn a_redirect_is_an_answer_unless_following_was_asked_for() {
    let server = Server::doing([to("/b"), ok("")]).await;
    let (client, _) = client(&server, |_| {});
    let answer = client.get("/a").send().await.unwrap();
    assert_eq!(
        (answer.status.as_u16(), &answer.headers["location"]),
        (302, &"/b".parse().unwrap())
    );
    assert_eq!(server.heard().len(), 1);
}

#[tokio::test]
async fn a_get_is_followed_within_its_origin_with_its_credentials() {
    let server = Server::doing([to("/b"), to("c?d"), ok("there")]).await;
    let (client, _) = client(&server, |settings| {
        settings.redirects = 2;
        settings.auth = Auth::parse("bearer abc").unwrap();
    });
    assert_eq!(client.get("/a").send().await.unwrap().text(), "there");
    let heard = server.heard();
    assert!(heard[2].starts_with("GET /c?d HTTP"), "{heard:?}");
    assert_eq!(header(&heard[2], "authorization"), Some("Bearer abc"));
}

#[tokio::test]
async fn nothing_is_sent_to_another_origin_and_no_post_and_no_circle_is_followed() {
    let other = Server::doing([ok("")]).await;
    let server = Server::doing([to(other.url()), to("/b"), to("/")]).await;
    let (client, _) = client(&server, |settings| {
        settings.redirects = 3;
        settings.auth = Auth::parse("bearer abc").unwrap();
    });
    assert_eq!(client.get("/").send().await.unwrap().status, 302);
    assert_eq!(other.connections(), 0);
    assert_eq!(client.post("/").send().await.unwrap().status, 302);
    assert_eq!(server.heard().len(), 2);
    let head = client.request(Method::HEAD, "/").send().await.unwrap();
    assert_eq!((head.status.as_u16(), server.heard().len()), (302, 6));
}
