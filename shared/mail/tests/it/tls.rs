//! TLS to a mail server, from the start and by STARTTLS.

use std::path::Path;
use std::sync::Arc;

use mail::{Limits, MailError, Mailer, Server, SmtpMailer};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

use crate::smtp_server::{SmtpServer, Tls};
use crate::{mail, sender};

fn certificate(folder: &Path) -> (TlsAcceptor, std::path::PathBuf) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let config = builder
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let path = folder.join("ca.pem");
    std::fs::write(&path, cert.pem()).unwrap();
    (TlsAcceptor::from(Arc::new(config)), path)
}

fn mailer(scheme: &str, port: u16, ca_file: Option<&Path>) -> SmtpMailer {
    let url = format!("{scheme}://ada:s%40fe@localhost:{port}");
    let server = Server::parse(&url).unwrap();
    SmtpMailer::new(server, sender(), ca_file, Limits::USUAL).unwrap()
}

#[tokio::test]
async fn both_kinds_of_tls_send_and_log_in_and_a_stranger_hears_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for scheme in ["smtps", "smtp"] {
        let (acceptor, ca) = certificate(folder.path());
        let tls = match scheme {
            "smtps" => Tls::AtOnce(acceptor),
            _ => Tls::OnDemand(acceptor),
        };
        let server = SmtpServer::over(tls, &[]).await;
        let refused = mailer(scheme, server.port, None).send(&mail()).await;
        assert!(matches!(refused, Err(MailError::Retry(_))), "{refused:?}");
        let is_secret = |line: &String| line.starts_with("AUTH") || line.starts_with("MAIL");
        assert!(
            !server.lines().iter().any(is_secret),
            "{:?}",
            server.lines()
        );
        mailer(scheme, server.port, Some(&ca))
            .send(&mail())
            .await
            .unwrap();
        // NUL ada NUL s@fe, in base64.
        let login = "AUTH PLAIN AGFkYQBzQGZl".to_owned();
        assert!(server.lines().contains(&login), "{:?}", server.lines());
        assert_eq!(server.texts().len(), 1);
    }
}

#[tokio::test]
async fn a_server_without_starttls_gets_no_mail() {
    let server = SmtpServer::saying(&[]).await;
    let refused = mailer("smtp", server.port, None).send(&mail()).await;
    assert!(matches!(refused, Err(MailError::Retry(_))), "{refused:?}");
    assert_eq!(server.lines(), ["EHLO rookery.example"]);
}
