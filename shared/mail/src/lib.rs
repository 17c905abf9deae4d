//! Mail: one port, three adapters (SMTP, `SendGrid`, the log), templates, languages.
//!
//! ```text
//! Templates ─ render ─▶ Content ─┐
//!                                ├─ Mail ─ Mailer::send ─▶ SMTP server | SendGrid | log
//! the caller's row ── id, to ────┘
//! ```
//!
//! Whoever sends claims a row before the call, and records its outcome after it: [`MailError`] says whether it may
//! be tried again.

#![warn(missing_docs)]

mod language;
mod log;
mod sendgrid;
mod settings;
mod smtp;
mod templates;

use std::fmt;

use async_trait::async_trait;
use uuid::Uuid;

pub use language::Language;
pub use log::LogMailer;
/// Makes a template's values: `values! { site => "Rookery", name }`.
pub use minijinja::context as values;
pub use minijinja::{Error as TemplateError, Value};
pub use sendgrid::SendGrid;
pub use settings::{MAIL_LANGUAGE, SETTINGS, Sender, open};
pub use smtp::{Limits, Server, SmtpMailer};
pub use templates::{Source, Templates};

/// What a mail says, in both forms.
#[derive(Clone, PartialEq, Eq)]
pub struct Content {
    /// One line.
    pub subject: String,
    /// The plain form.
    pub text: String,
    /// The same as HTML.
    pub html: String,
}

/// A mail to one recipient: of several, one that is refused would stop the others.
#[derive(Clone, PartialEq, Eq)]
pub struct Mail {
    /// Names the mail in every attempt: the Message-ID is made of it.
    pub id: Uuid,
    /// The address, in ASCII.
    pub to: String,
    /// What it says.
    pub content: Content,
}

/// A mail may hold a link that nobody else may follow.
impl fmt::Debug for Mail {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Mail")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// A reason why a mail was not sent, by what follows from it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// It was not taken; later it may be.
    #[error("not sent for now: {0}")]
    Retry(String),
    /// It was not taken, and never will be.
    #[error("refused: {0}")]
    Refused(String),
    /// No clear answer came: it may have been taken.
    #[error("not known whether it was sent: {0}")]
    Uncertain(String),
}

/// Hands mails over to whoever delivers them. Whatever the adapter, `tests/it/contract.rs` holds it to this:
/// success means that it was taken; both forms and the id arrive; an error is sorted by [`MailError`]; an address
/// beyond ASCII is refused; a silent server is waited for only so long.
#[async_trait]
pub trait Mailer: Send + Sync {
    /// Hands over `mail`.
    ///
    /// # Errors
    /// The reason why it was not taken.
    async fn send(&self, mail: &Mail) -> Result<(), MailError>;

    /// False where mails reach nobody: no provider is configured.
    fn delivers(&self) -> bool {
        true
    }
}

/// Refuses an address that not every server takes.
fn check_address(address: &str) -> Result<(), MailError> {
    if address.is_ascii() && !address.bytes().any(|byte| byte.is_ascii_control()) {
        return Ok(());
    }
    Err(MailError::Refused("the address is not in ASCII".into()))
}
