//! Redis over TLS: the server shows who it is, and it asks who we are.

use cache::CacheStore;
use cache::redis::RedisStore;
use testkit::own::Own;

async fn asked(url: &str) -> Result<(), String> {
    let store = RedisStore::new(url).map_err(|why| why.to_string())?;
    let set = store.get("key").await;
    set.map(drop).map_err(|why| blocks::error::chain(&why))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a server with scripts/redis"]
async fn the_url_says_whom_to_trust_what_to_show_and_who_we_are() {
    let server = Own::new("redis", 1);
    server.run(&["up", "--tls"]);
    let file = |name: &str| server.certificate(name).display().to_string();
    let url = |user: &str, authority: &str| {
        let (port, authority) = (server.port, file(authority));
        format!("rediss://{user}127.0.0.1:{port}?ssl_ca_certs={authority}")
    };
    let showing = format!(
        "&ssl_certfile={}&ssl_keyfile={}",
        file("client.pem"),
        file("client.key")
    );
    let user = "rookery:secret@";
    asked(&(url(user, "ca.pem") + &showing)).await.unwrap();

    for (refused, why) in [
        (url(user, "stranger.pem") + &showing, "certificate"),
        (
            url("rookery:wrong@", "ca.pem") + &showing,
            "authentication failed",
        ),
        (url("", "ca.pem") + &showing, "NOAUTH"),
    ] {
        let said = asked(&refused).await.unwrap_err();
        assert!(said.contains(why), "{said}");
        assert!(!said.contains("wrong@"), "{said}");
    }
    // The server closes, for want of a certificate.
    asked(&url(user, "ca.pem")).await.unwrap_err();
}
