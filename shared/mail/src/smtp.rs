//! SMTP, by lettre's connection, one a mail, step by step: so it is known how far a mail came when something failed.
//!
//! | failed | then |
//! |---|---|
//! | connecting, TLS, logging in, MAIL | it may be tried again: it is not about this mail |
//! | RCPT, DATA, the end of the text, by 4xx | it may be tried again |
//! | the same by 5xx | it is refused |
//! | an answer to the text that is no 250, 4xx or 5xx, or none | it may have been taken |
//!
//! lettre's own time-out does not cover answers, so each part has one here.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use lettre::message::MultiPart;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail as MailFrom, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::Response;
use lettre::{Address, Message};
use percent_encoding::percent_decode_str;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::{Mail, MailError, Mailer, Sender, check_address};

/// What a server may take for.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most connections at a time.
    pub connections: usize,
    /// The longest time from the connection to the server's leave to send the text.
    pub before_text: Duration,
    /// The longest time from the text to the answer to it.
    pub text: Duration,
    /// The longest wait for a place among the connections.
    pub place: Duration,
}

impl Limits {
    /// Those of a running site. Together they are shorter than the lease of a claim must be.
    pub const USUAL: Self = Self {
        connections: 4,
        before_text: Duration::from_secs(30),
        text: Duration::from_mins(1),
        place: Duration::from_secs(30),
    };
}

/// How long the farewell may take, which changes nothing any more.
const FAREWELL: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tls {
    None,
    /// Demanded by STARTTLS.
    Start,
    /// From the first byte on.
    Implicit,
}

/// Where the server is, and how it is spoken to. Not shown: the password is in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    host: String,
    port: u16,
    tls: Tls,
    user: Option<(String, String)>,
}

impl Server {
    /// Reads `smtps://user:password@host:465` (TLS from the start) or `smtp://host:587` (STARTTLS, demanded; with
    /// `?tls=none` no TLS, and no password then). `None` when it is something else.
    pub fn parse(url: &str) -> Option<Self> {
        let uri: http::Uri = url.parse().ok()?;
        let tls = match (uri.scheme_str()?, uri.query()) {
            ("smtps", None) => Tls::Implicit,
            ("smtp", None | Some("tls=required")) => Tls::Start,
            ("smtp", Some("tls=none")) => Tls::None,
            _ => return None,
        };
        let usual = match tls {
            Tls::None => 25,
            Tls::Start => 587,
            Tls::Implicit => 465,
        };
        let authority = uri.authority()?;
        let decoded = |text: &str| {
            let text = percent_decode_str(text).decode_utf8().ok()?;
            Some(text.into_owned()).filter(|text| !text.contains(char::is_control))
        };
        let user = match authority.as_str().rsplit_once('@') {
            None => None,
            Some((user, _)) => {
                let (name, password) = user.split_once(':')?;
                Some((decoded(name)?, decoded(password)?))
            }
        };
        let is_bare = matches!(uri.path(), "" | "/");
        if !is_bare || (tls == Tls::None && user.is_some()) || authority.host().is_empty() {
            return None;
        }
        Some(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(usual),
            tls,
            user,
        })
    }
}

/// Sends by an SMTP server.
pub struct SmtpMailer {
    server: Server,
    from: Sender,
    hello: ClientId,
    tls: Option<TlsParameters>,
    limits: Limits,
    places: Semaphore,
}

impl SmtpMailer {
    /// Sends as `from` by `server`. Its certificate may come from an authority in the PEM file `ca_file`, too.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn new(
        server: Server,
        from: Sender,
        ca_file: Option<&Path>,
        limits: Limits,
    ) -> anyhow::Result<Self> {
        let tls = match server.tls {
            Tls::None => None,
            Tls::Start | Tls::Implicit => Some(tls(&server.host, ca_file)?),
        };
        Ok(Self {
            hello: ClientId::Domain(from.domain().to_owned()),
            server,
            from,
            tls,
            limits,
            places: Semaphore::new(limits.connections),
        })
    }

    /// A connection on which the server waits for the text.
    async fn offer(&self, to: &Address) -> Result<AsyncSmtpConnection, MailError> {
        let at = (self.server.host.as_str(), self.server.port);
        let implicit = self
            .tls
            .clone()
            .filter(|_| self.server.tls == Tls::Implicit);
        // A host with several addresses gets the time once for each; the whole is cut outside.
        let connecting =
            AsyncSmtpConnection::connect_tokio1(at, None, &self.hello, implicit, None).await;
        let mut connection = connecting.map_err(|error| later("connecting", &error))?;
        if let Some(tls) = self.tls.clone().filter(|_| self.server.tls == Tls::Start) {
            let started = connection.starttls(tls, &self.hello).await;
            started.map_err(|error| later("STARTTLS", &error))?;
        }
        if let Some((name, password)) = self.server.user.clone() {
            let credentials = Credentials::new(name, password);
            let known = connection.auth(DEFAULT_MECHANISMS, &credentials).await;
            known.map_err(|error| later("logging in", &error))?;
        }
        let from = MailFrom::new(Some(self.from.address().clone()), vec![]);
        let answer = connection.command(from).await;
        answer.map_err(|error| later("MAIL", &error))?;
        let answer = connection.command(Rcpt::new(to.clone(), vec![])).await;
        answer.map_err(|error| sorted("RCPT", &error).unwrap_or_else(|| later("RCPT", &error)))?;
        let answer = connection.command(Data).await;
        let answer = answer
            .map_err(|error| sorted("DATA", &error).unwrap_or_else(|| later("DATA", &error)))?;
        if answer.has_code(354) {
            return Ok(connection);
        }
        Err(MailError::Retry(unexpected("DATA", &answer)))
    }

    fn message(&self, mail: &Mail, to: &Address) -> Result<Vec<u8>, lettre::error::Error> {
        let content = &mail.content;
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        let message = Message::builder()
            .from(self.from.mailbox().clone())
            .to(to.clone().into())
            .subject(content.subject.as_str())
            .message_id(Some(self.from.message_id(mail.id)))
            .date_now()
            // No absence notes for it.
            .raw_header(HeaderValue::new(automatic, "auto-generated".into()))
            .multipart(MultiPart::alternative_plain_html(
                content.text.clone(),
                content.html.clone(),
            ))?;
        Ok(message.formatted())
    }
}

#[async_trait]
impl Mailer for SmtpMailer {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        check_address(&mail.to)?;
        let refused = |why: String| MailError::Refused(why);
        let to: Address = mail
            .to
            .parse()
            .map_err(|_| refused("the address is none".into()))?;
        let message = self.message(mail, &to);
        let message = message.map_err(|error| refused(error.to_string()))?;
        let place = timeout(self.limits.place, self.places.acquire()).await;
        let Ok(Ok(_place)) = place else {
            return Err(MailError::Retry("all connections are in use".into()));
        };
        let offered = timeout(self.limits.before_text, self.offer(&to)).await;
        let mut connection =
            offered.map_err(|_| MailError::Retry("the server took too long".into()))??;
        let uncertain = |why: String| MailError::Uncertain(why);
        let answer = timeout(self.limits.text, connection.message(&message)).await;
        let answer = answer.map_err(|_| uncertain("no answer to the text".into()))?;
        let answer = answer.map_err(|error| {
            let known = sorted("the text", &error);
            known.unwrap_or_else(|| uncertain(said("the text", &error)))
        })?;
        if !answer.has_code(250) {
            return Err(uncertain(unexpected("the text", &answer)));
        }
        // The mail was taken, whatever becomes of this.
        let _ = timeout(FAREWELL, connection.quit()).await;
        Ok(())
    }
}

fn tls(host: &str, ca_file: Option<&Path>) -> anyhow::Result<TlsParameters> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(path) = ca_file {
        let wrong = || format!("SMTP_CA_FILE can't be used: {}", path.display());
        let pem = std::fs::read(path).with_context(wrong)?;
        builder = builder.add_root_certificate(Certificate::from_pem(&pem).with_context(wrong)?);
    }
    builder.build_rustls().context("TLS can't be set up")
}

/// The server's refusal, by its code; `None` if it did not answer by one.
fn sorted(step: &str, error: &lettre::transport::smtp::Error) -> Option<MailError> {
    if error.is_permanent() {
        Some(MailError::Refused(said(step, error)))
    } else if error.is_transient() {
        Some(MailError::Retry(said(step, error)))
    } else {
        None
    }
}

fn later(step: &str, error: &lettre::transport::smtp::Error) -> MailError {
    MailError::Retry(said(step, error))
}

fn said(step: &str, error: &lettre::transport::smtp::Error) -> String {
    format!("{step}: {}", blocks::error::chain(error))
}

fn unexpected(step: &str, answer: &Response) -> String {
    format!("{step}: the server answered {}", answer.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_read_from_its_url_and_a_password_needs_tls() {
        let server = Server::parse("smtps://ada%40x.org:p%3Aw%2F@mail.example.org").unwrap();
        let user = Some(("ada@x.org".to_owned(), "p:w/".to_owned()));
        assert!(server.port == 465 && server.tls == Tls::Implicit && server.user == user);
        let server = Server::parse("smtp://mail.example.org").unwrap();
        assert!(server.port == 587 && server.tls == Tls::Start && server.user.is_none());
        let server = Server::parse("smtp://127.0.0.1:1025/?tls=none").unwrap();
        assert!(server.port == 1025 && server.tls == Tls::None);
        for wrong in [
            "",
            "mail.example.org",
            "http://mail.example.org",
            "smtp://a:b@mail.example.org?tls=none",
            "smtp://a@mail.example.org",
            "smtp://mail.example.org?tls=maybe",
            "smtp://mail.example.org/path",
            "smtps://a:b%0d%0a@mail.example.org",
        ] {
            assert!(Server::parse(wrong).is_none(), "{wrong}");
        }
    }
}
