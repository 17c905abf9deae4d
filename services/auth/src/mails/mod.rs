//! Mails to accounts.
//!
//! ```text
//! command ─┬─ its own write           one atomic write
//!          └─ mails: queued ─ bell ─▶ Sending ─ claim (a new link) ─▶ Mailer ─▶ sent | queued | failed | uncertain
//! ```
//!
//! A row is claimed before the call, by one replica. An attempt that was not taken is tried again with growing pauses,
//! with a new link; one whose fate is unknown is not. An account that is deleted takes its rows with it.

mod limits;
mod send;
mod settings;
mod template;

use std::sync::Arc;

use mail::{Language, Templates};
use sql::Tx;
use tokio::sync::Notify;

pub use settings::{MailSettings, OWN};
pub use template::{Template, templates};

pub(crate) use limits::MailLimits;
pub use send::Fate;
pub(crate) use send::Sending;

use crate::domain::{Account, AccountChange, key};
use crate::error::AuthError;
use crate::store::{self, Languages};

/// How mails are made, sent and limited.
pub(crate) struct Mails {
    pub settings: MailSettings,
    pub templates: Templates,
    pub limits: MailLimits,
    /// Rung when a mail was queued here.
    pub bell: Arc<Notify>,
}

impl Mails {
    /// The language for a request that wants `asked`.
    pub fn languages(&self, asked: Option<Language>) -> Languages {
        Languages {
            asked,
            usual: self.settings.language,
        }
    }

    /// True if mails reach somebody.
    pub fn deliver(&self) -> bool {
        self.settings.mailer.delivers()
    }

    /// Has mails that this write queued sent at once.
    pub fn wake(&self, tx: &mut Tx) {
        let bell = Arc::clone(&self.bell);
        tx.after_commit(move || bell.notify_one());
    }

    /// Queues a mail to an account at `address`, in the account's language.
    pub async fn queue(
        &self,
        tx: &mut Tx,
        id: i64,
        template: Template,
        address: &str,
    ) -> Result<(), AuthError> {
        store::add_mail(tx, id, template, address, self.languages(None)).await?;
        self.wake(tx);
        Ok(())
    }

    /// Mails a link to an account that was just opened: for a password where it has none, else to verify its address.
    pub async fn welcome(
        &self,
        tx: &mut Tx,
        account: &Account,
        has_password: bool,
        language: Option<Language>,
    ) -> Result<(), AuthError> {
        if let Some(language) = language {
            store::set_language(tx, account.id, language).await?;
        }
        let template = if has_password {
            Template::VerifyEmail
        } else {
            Template::Invite
        };
        if self.deliver() || !has_password {
            self.queue(tx, account.id, template, &account.email).await?;
        }
        Ok(())
    }

    /// Tells an account's owner that it has another password.
    pub async fn tell_new_password(&self, tx: &mut Tx, id: i64) -> Result<(), AuthError> {
        if self.deliver()
            && let Some(email) = store::email_of(tx, id).await?
        {
            let template = Template::PasswordChanged;
            self.queue(tx, id, template, &email).await?;
        }
        Ok(())
    }

    /// Takes an owner's new address, which has to be verified first, out of `change`, and mails a link to it. Answers
    /// the address so far where the change replaces it at once: it is to be told.
    pub async fn hold_back(
        &self,
        tx: &mut Tx,
        id: i64,
        change: &mut AccountChange,
        by_owner: bool,
    ) -> Result<Option<String>, AuthError> {
        let Some(wanted) = change.email.take_if(|_| self.deliver()) else {
            return Ok(None);
        };
        let before = store::email_of(tx, id).await?;
        let is_same = before.as_deref().map(key) == Some(key(wanted.as_str()));
        if !by_owner || is_same {
            store::set_pending(tx, id, None).await?;
            change.email = Some(wanted);
            return Ok(before.filter(|_| !is_same));
        }
        if store::is_taken(tx, wanted.as_str()).await? {
            return Err(AuthError::Taken("email"));
        }
        store::set_pending(tx, id, Some(wanted.as_str())).await?;
        self.queue(tx, id, Template::VerifyEmail, wanted.as_str())
            .await?;
        Ok(None)
    }

    /// Tells the address so far that the account has another, and mails a link to that where it is not verified.
    pub async fn tell_new_email(
        &self,
        tx: &mut Tx,
        before: &str,
        account: &Account,
    ) -> Result<(), AuthError> {
        self.queue(tx, account.id, Template::EmailChanged, before)
            .await?;
        if !account.email_verified {
            self.queue(tx, account.id, Template::VerifyEmail, &account.email)
                .await?;
        }
        Ok(())
    }
}
