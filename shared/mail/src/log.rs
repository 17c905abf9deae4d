//! The adapter for a site without a mail provider: the log.

use async_trait::async_trait;

use crate::{Mail, MailError, Mailer, check_address};

/// Says in the log that a mail reached nobody. In development it shows the text, so that its link can be followed.
#[derive(Debug, Clone, Copy)]
pub struct LogMailer {
    /// True if the text may stand in the log: there is a link in it that lets its reader in.
    pub shows_text: bool,
}

#[async_trait]
impl Mailer for LogMailer {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        check_address(&mail.to)?;
        let (id, subject) = (mail.id, mail.content.subject.as_str());
        if self.shows_text {
            let text = mail.content.text.as_str();
            tracing::info!(mail.id = %id, subject, "a mail that reaches nobody says:\n{text}");
        } else {
            tracing::warn!(mail.id = %id, subject, "a mail reaches nobody: neither SMTP_URL nor SENDGRID_API_KEY is set");
        }
        Ok(())
    }

    fn delivers(&self) -> bool {
        false
    }
}
