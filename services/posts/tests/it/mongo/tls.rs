//! MongoDB over TLS: the server shows who it is, and it asks who we are.

use std::sync::Arc;

use blocks::SystemClock;
use posts::NAME;
use posts::store::mongo::{Mongo, Settings};
use testkit::own::Own;

use crate::stores::connect;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a server with scripts/mongo"]
async fn the_url_says_whom_to_trust_and_what_to_show() {
    let server = Own::new("mongo", 1);
    let url = server.run(&["up", "--tls"]);
    let file = |name| server.certificate(name).display().to_string();
    let trusting = |authority| {
        let options = "serverSelectionTimeoutMS=1500&tls=true";
        format!("{url}/posts?{options}&tlsCAFile={}", file(authority))
    };
    let showing = format!("tlsCertificateKeyFile={}", file("client-and-key.pem"));
    let good = format!("{}&{showing}", trusting("ca.pem"));
    connect(&good, Arc::new(SystemClock)).await.close().await;

    for (refused, why) in [
        (
            format!("{}&{showing}", trusting("stranger.pem")),
            "UnknownIssuer",
        ),
        (trusting("ca.pem"), "CertificateRequired"),
        (
            format!("{url}/posts?serverSelectionTimeoutMS=1500"),
            "end of file",
        ),
    ] {
        let settings = Settings {
            service: NAME,
            clock: Arc::new(SystemClock),
            keep_inbox: true,
            keep_outbox: true,
            makes_indexes: true,
        };
        let refused = Mongo::connect(&refused, settings).await.err().unwrap();
        let said = blocks::error::chain(&refused);
        assert!(said.contains(why), "{why}: {said}");
    }
}
