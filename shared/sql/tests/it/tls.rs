//! PostgreSQL over TLS: the server shows who it is, and it may ask who we are.

use std::sync::Arc;

use blocks::SystemClock;
use sql::{Db, Settings, StoreError, fetch_one};
use testkit::own::Own;

use crate::NOTES;

async fn open(url: &str) -> Result<Db, StoreError> {
    let settings = Settings::new("notes", Arc::new(SystemClock));
    Db::connect_postgres(url, "notes", settings, NOTES).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a server with scripts/postgres"]
async fn the_url_says_whom_to_trust_and_what_to_show() {
    let server = Own::new("postgres", 1);
    let url = server.run(&["up", "--tls"]);
    let file = |name| server.certificate(name).display().to_string();
    let trusting = |authority| format!("{url}?sslmode=verify-full&sslrootcert={}", file(authority));
    let showing = format!(
        "sslcert={}&sslkey={}",
        file("client.pem"),
        file("client.key")
    );
    let db = open(&format!("{}&{showing}", trusting("ca.pem")))
        .await
        .unwrap();
    let mut reader = db.read().await.unwrap();
    let client: String = fetch_one!(reader, scalar
        "select client_dn from pg_stat_ssl where ssl and pid = pg_backend_pid()")
    .unwrap();
    assert_eq!(client, "/CN=client");
    drop(reader);
    db.close().await;

    let refused = open(&trusting("stranger.pem")).await.err().unwrap();
    let said = blocks::error::chain(&refused);
    assert!(said.contains("UnknownIssuer"), "{said}");
}
