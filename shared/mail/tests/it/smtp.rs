//! SMTP: which answer leads to what.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mail::{Limits, MailError, Mailer, Server, SmtpMailer};

use crate::contract::{Does, PATIENCE, Provider};
use crate::smtp_server::{Says, SmtpServer};
use crate::{mail, sender};

const LIMITS: Limits = Limits {
    connections: 2,
    before_text: PATIENCE,
    text: PATIENCE,
    place: Duration::from_secs(5),
};

fn at(port: u16) -> SmtpMailer {
    let server = Server::parse(&format!("smtp://127.0.0.1:{port}?tls=none")).unwrap();
    SmtpMailer::new(server, sender(), None, LIMITS).unwrap()
}

#[derive(Default)]
pub struct SmtpSite(Option<SmtpServer>);

#[async_trait]
impl Provider for SmtpSite {
    async fn doing(&mut self, does: Does) -> Arc<dyn Mailer> {
        let steps: &[_] = match does {
            Does::Takes => &[],
            Does::Defers => &[("RCPT", Says::Line("450 greylisted"))],
            Does::Refuses => &[("RCPT", Says::Line("550 no such user"))],
            Does::IsSilent => &[("text", Says::Nothing)],
            Does::HangsUp => &[("text", Says::Closes)],
            Does::IsAway => return Arc::new(at(1)),
        };
        let server = SmtpServer::saying(steps).await;
        let mailer = at(server.port);
        self.0 = Some(server);
        Arc::new(mailer)
    }

    fn seen(&self) -> Vec<(String, String)> {
        let texts = self.0.iter().flat_map(SmtpServer::texts);
        let decoded = texts.map(|text| {
            let header = text
                .lines()
                .find_map(|line| line.strip_prefix("Message-ID: "));
            (header.unwrap_or_default().to_owned(), decoded(&text))
        });
        decoded.collect()
    }

    fn can(&self, _: Does) -> bool {
        true
    }
}

/// Undoes quoted-printable, and the line ends of SMTP.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let text = text.replace("=\r\n", "");
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(coded) if *byte == b'=' => {
                bytes.push(coded);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap().replace("\r\n", "\n")
}

#[tokio::test]
async fn each_answer_of_a_server_leads_to_what_follows_from_it() {
    for (step, says, sorted) in [
        ("connect", Says::Line("554 go away"), "retry"),
        ("connect", Says::Nothing, "retry"),
        ("connect", Says::Closes, "retry"),
        ("connect", Says::Line("nonsense"), "retry"),
        ("MAIL", Says::Line("451 later"), "retry"),
        ("MAIL", Says::Line("421 closing"), "retry"),
        ("MAIL", Says::Line("550 not as this sender"), "retry"),
        ("RCPT", Says::Line("452 full"), "retry"),
        ("RCPT", Says::Line("550 unknown"), "refused"),
        ("RCPT", Says::Closes, "retry"),
        ("DATA", Says::Line("451 later"), "retry"),
        ("DATA", Says::Line("554 no valid recipients"), "refused"),
        ("DATA", Says::Nothing, "retry"),
        ("DATA", Says::Line("250 what"), "retry"),
        ("text", Says::Line("451 later"), "retry"),
        ("text", Says::Line("552 too much"), "refused"),
        ("text", Says::Nothing, "uncertain"),
        ("text", Says::Closes, "uncertain"),
        ("text", Says::Line("354 go on"), "uncertain"),
        ("text", Says::Line("251 elsewhere"), "uncertain"),
        ("text", Says::Line("nonsense"), "uncertain"),
        ("QUIT", Says::Nothing, "taken"),
        ("QUIT", Says::Closes, "taken"),
    ] {
        let server = SmtpServer::saying(&[(step, says.clone())]).await;
        let outcome = at(server.port).send(&mail()).await;
        let kind = match &outcome {
            Ok(()) => "taken",
            Err(MailError::Retry(_)) => "retry",
            Err(MailError::Refused(_)) => "refused",
            Err(MailError::Uncertain(_)) => "uncertain",
        };
        assert_eq!(kind, sorted, "{step} {says:?}: {outcome:?}");
        let said = outcome.err().map(|error| error.to_string());
        assert!(!said.unwrap_or_default().contains("reset#abc"));
    }
}

#[tokio::test]
async fn a_mail_is_mime_with_everything_that_servers_look_for() {
    let server = SmtpServer::saying(&[]).await;
    at(server.port).send(&mail()).await.unwrap();
    let lines = server.lines();
    assert_eq!(lines[0], "EHLO rookery.example");
    assert!(lines[1].starts_with("MAIL FROM:<noreply@rookery.example>"));
    assert!(lines[2].starts_with("RCPT TO:<ada@example.org>"));
    let text = server.texts().remove(0);
    for part in [
        "MIME-Version: 1.0",
        "Date: ",
        "From: Rookery <noreply@rookery.example>",
        "To: ada@example.org",
        "Subject: =?utf-8?",
        "Content-Type: multipart/alternative",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Type: text/html; charset=utf-8",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(text.is_ascii());
}

#[tokio::test]
async fn no_more_connections_are_open_than_may_be() {
    let server = SmtpServer::saying(&[("text", Says::Line("451 later"))]).await;
    let mailer = Arc::new(at(server.port));
    let mut sending = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mailer = Arc::clone(&mailer);
        sending.spawn(async move { mailer.send(&mail()).await.unwrap_err() });
    }
    assert_eq!(sending.join_all().await.len(), 8);
    assert_eq!(server.texts().len(), 8);
    // One that was answered may not have been seen to close yet.
    assert!(
        server.most_open() <= 2 * LIMITS.connections,
        "{}",
        server.most_open()
    );
}
