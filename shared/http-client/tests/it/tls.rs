//! Certificates.

use std::path::PathBuf;
use std::sync::Arc;

use http_client::Kind;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

use crate::client;
use crate::server::{Server, ok};

/// A server that calls itself `name`, and the file of its certificate.
async fn server(name: &str) -> (Server, tempfile::TempDir, PathBuf) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_no_client_auth();
    let config = builder
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, cert.pem()).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    (Server::with_tls(acceptor, [ok("safe")]).await, folder, path)
}

#[tokio::test]
async fn a_server_whose_authority_is_named_is_believed() {
    let (server, _folder, path) = server("localhost").await;
    let (client, _) = client(&server, |settings| settings.ca_file = Some(path));
    assert_eq!(client.get("/").send().await.unwrap().text(), "safe");
}

#[tokio::test]
async fn an_unknown_authority_and_another_name_are_refused_at_once() {
    let (unknown, _folder, _) = server("localhost").await;
    let (named_otherwise, _folder, path) = server("elsewhere.example.com").await;
    for (server, ca_file, why) in [
        (unknown, None, "UnknownIssuer"),
        (named_otherwise, Some(path), "not valid for name"),
    ] {
        let (client, metrics) = client(&server, |settings| settings.ca_file = ca_file);
        let error = client.get("/").send().await.unwrap_err();
        assert!(matches!(error.kind(), Kind::Certificate(_)), "{error:?}");
        let said = blocks::error::chain(&error);
        assert!(said.contains(why), "{why}: {said}");
        assert_eq!((server.heard().len(), server.connections()), (0, 1));
        let page = metrics.encode();
        let line = r#"http_client_errors_total{client="test",error="certificate"} 1"#;
        assert!(page.contains(line), "{page}");
    }
}
