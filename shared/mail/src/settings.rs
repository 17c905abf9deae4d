//! The settings of mail, and the adapter that they name.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use blocks::config::{Config, Environment, Secret, Setting, Settings};
use lettre::Address;
use lettre::message::Mailbox;
use uuid::Uuid;

use crate::{Language, Limits, LogMailer, Mailer, SendGrid, Server, SmtpMailer};

const SMTP_URL: Setting<Option<Server>> = Setting {
    secret: true,
    ..Setting::new(
        "SMTP_URL",
        "",
        "the mail server, as `smtps://user:password@mail.example.org:465`, or `smtp://` with STARTTLS at 587; a relay \
         on this machine is `smtp://127.0.0.1:25?tls=none`",
        "smtps://user:password@host:port, or smtp://user:password@host:port with STARTTLS, or smtp://host:port?tls=none \
         without user and password",
        |text| match text {
            "" => Some(None),
            text => Server::parse(text).map(Some),
        },
    )
};
const SMTP_CA_FILE: Setting<Option<PathBuf>> = Setting::new(
    "SMTP_CA_FILE",
    "",
    "a PEM file with an authority that the mail server's certificate may come from, besides Mozilla's",
    "a file",
    |text| Some((!text.is_empty()).then(|| PathBuf::from(text))),
);
const MAIL_FROM: Setting<Option<Sender>> = Setting::new(
    "MAIL_FROM",
    "",
    "the sender of mails, as `Rookery <noreply@example.org>`; needed with the two below and above",
    "an address in ASCII, with or without a name: Rookery <noreply@example.org>",
    |text| match text {
        "" => Some(None),
        text => Sender::parse(text).map(Some),
    },
);
const SENDGRID_API_KEY: Setting<Option<Secret>> = Setting::secret(
    "SENDGRID_API_KEY",
    "the key for SendGrid's API, in the place of `SMTP_URL`",
);
const SENDGRID_URL: Setting<String> = Setting::new(
    "SENDGRID_URL",
    "https://api.sendgrid.com",
    "where that API is; `https://api.eu.sendgrid.com` for the European one",
    "a URL",
    |text| (!text.is_empty()).then(|| text.to_owned()),
);
/// The language of mails to whom no other is known of.
pub const MAIL_LANGUAGE: Setting<Language> = Setting::new(
    "MAIL_LANGUAGE",
    "en",
    "the language of mails where the request names none: `en` or `de`",
    "en or de",
    Language::parse,
);

/// All settings of mail.
pub const SETTINGS: Settings = &[
    &SMTP_URL,
    &SMTP_CA_FILE,
    &MAIL_FROM,
    &SENDGRID_API_KEY,
    &SENDGRID_URL,
    &MAIL_LANGUAGE,
];

/// The sender of all mails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender(Mailbox);

impl Sender {
    /// Reads an address, with or without a name. `None` when it is none, or not in ASCII.
    pub fn parse(text: &str) -> Option<Self> {
        let mailbox: Mailbox = text.parse().ok()?;
        let address: &str = mailbox.email.as_ref();
        let is_plain = address.is_ascii() && !text.contains(char::is_control);
        is_plain.then_some(Self(mailbox))
    }

    pub(crate) fn mailbox(&self) -> &Mailbox {
        &self.0
    }

    pub(crate) fn address(&self) -> &Address {
        &self.0.email
    }

    pub(crate) fn domain(&self) -> &str {
        self.0.email.domain()
    }

    /// The same for every attempt at a mail.
    pub(crate) fn message_id(&self, id: Uuid) -> String {
        format!("<{id}@{}>", self.domain())
    }
}

/// The adapter that `config` names; the log where it names none.
///
/// # Errors
/// When it names two, or no sender, or a file that can't be read.
pub fn open(config: &Config) -> anyhow::Result<Arc<dyn Mailer>> {
    let from = || {
        let from = config.get(&MAIL_FROM);
        from.context(
            "MAIL_FROM is not set: mails need a sender, as `Rookery <noreply@example.org>`",
        )
    };
    match (config.get(&SMTP_URL), config.get(&SENDGRID_API_KEY)) {
        (Some(_), Some(_)) => {
            anyhow::bail!("SMTP_URL and SENDGRID_API_KEY are both set: mails go one way")
        }
        (Some(server), None) => {
            let ca_file = config.get(&SMTP_CA_FILE);
            let mailer = SmtpMailer::new(server, from()?, ca_file.as_deref(), Limits::USUAL)?;
            Ok(Arc::new(mailer))
        }
        (None, Some(key)) => {
            let url = config.get(&SENDGRID_URL);
            let mailer = SendGrid::new(&url, key, from()?, None);
            Ok(Arc::new(mailer.context("SENDGRID_URL can't be used")?))
        }
        (None, None) => Ok(Arc::new(LogMailer {
            shows_text: config.environment == Environment::Development,
        })),
    }
}
