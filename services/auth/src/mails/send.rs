//! Sends mails that are due.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use blocks::backoff::Reminder;
use blocks::error::chain;
use blocks::service::Background;
use blocks::{Command, Mediator};
use chrono::TimeDelta;
use futures::future::join_all;
use mail::{Language, Mail, MailError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Template;
use crate::error::{AuthError, MailFault};
use crate::links::Token;
use crate::store::{self, ClaimedMail, DueMail};
use crate::{Auth, NAME};

/// How long a claim holds: longer than the longest call.
const LEASE: TimeDelta = TimeDelta::minutes(3);
/// The pause after the first attempt; each later one is twice as long.
const FIRST_PAUSE: TimeDelta = TimeDelta::seconds(30);
/// After so many attempts a mail is given up: about an hour after the first one.
const MOST_ATTEMPTS: i64 = 8;
/// How long settled mails are kept.
const KEPT: TimeDelta = TimeDelta::days(7);
/// Poll interval, for mails that other replicas queued, and those to be tried again.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Interval between two removals of old mails.
const TIDY_EVERY: Duration = Duration::from_hours(1);

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Somebody else has it, or the account is gone.
    NotOurs,
    /// Nobody has the address.
    Dropped,
    Sent,
    /// To be tried again.
    Waits,
    Failed,
    Uncertain,
}

/// Sends a mail that is due: claims it, hands it over, and stores what became of it.
struct SendMail {
    id: Uuid,
    template: Template,
}
blocks::operation!(SendMail -> Result<Fate, AuthError>, "auth.send_mail",
    |it| mail.id = %it.id, mail.template = it.template.name());

impl Command<Auth> for SendMail {
    async fn run(self, on: &Auth) -> Result<Fate, AuthError> {
        let Self { id, template } = self;
        let token = Token::random()?;
        let link = template
            .holds()
            .map(|holds| (token.hash(), on.clock.now() + holds));
        let claim = on
            .db
            .write(move |tx| Box::pin(store::claim_mail(tx, id, LEASE, link)));
        let Some(claimed) = claim.await? else {
            return Ok(Fate::NotOurs);
        };
        let content = template.render(
            &on.mails.templates,
            Language::parse(&claimed.language).unwrap_or_default(),
            (
                &on.mails.settings.site,
                &claimed.username,
                on.mails.settings.link(template, token.as_str()).as_deref(),
            ),
        );
        let mail = Mail {
            id,
            to: claimed.address.clone(),
            content: content.map_err(MailFault::from)?,
        };
        let sent = on.mails.settings.mailer.send(&mail).await;
        settle(on, template, &claimed, sent).await
    }
}

async fn settle(
    on: &Auth,
    template: Template,
    claimed: &ClaimedMail,
    sent: Result<(), MailError>,
) -> Result<Fate, AuthError> {
    let of = (claimed.id, claimed.attempts);
    let is_last = claimed.attempts >= MOST_ATTEMPTS;
    let (fate, state, due_at) = match &sent {
        Ok(()) => (Fate::Sent, "sent", None),
        Err(MailError::Retry(_)) if !is_last => {
            let pause = FIRST_PAUSE * (1 << (claimed.attempts - 1).clamp(0, 16));
            (Fate::Waits, "queued", Some(on.clock.now() + pause))
        }
        Err(MailError::Retry(_) | MailError::Refused(_)) => (Fate::Failed, "failed", None),
        Err(MailError::Uncertain(_)) => (Fate::Uncertain, "uncertain", None),
    };
    let error = sent.err().map(|error| error.to_string());
    let (mail, attempt, template) = (claimed.id, claimed.attempts, template.name());
    match (fate, &error) {
        (Fate::Failed | Fate::Uncertain, Some(error)) => {
            tracing::warn!(mail.id = %mail, template, attempt, %error, "a mail is given up");
        }
        (_, Some(error)) => {
            tracing::warn!(mail.id = %mail, template, attempt, %error, "a mail waits for another attempt");
        }
        (_, None) => tracing::debug!(mail.id = %mail, template, attempt, "a mail was sent"),
    }
    let write = on.db.write(move |tx| {
        Box::pin(async move { store::settle_mail(tx, of, state, due_at, error.as_deref()).await })
    });
    write.await?;
    Ok(fate)
}

impl Auth {
    /// Sends the mails that are due, and answers what became of each. Claims that ended without an outcome become
    /// uncertain.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn send_mails(&self) -> Result<Vec<Fate>, AuthError> {
        let due = store::due_mails(&mut self.db.read().await?, self.clock.now()).await?;
        // The mailer holds how many go out at a time.
        let sent = join_all(due.into_iter().map(|mail| self.send_one(mail))).await;
        sent.into_iter().collect()
    }

    async fn send_one(&self, due: DueMail) -> Result<Fate, AuthError> {
        let id = due.id;
        let template = Template::parse(&due.template);
        match (template, due.user_id) {
            (Some(_), Some(_)) if due.is_claimed => {
                let lost = self.db.write(move |tx| Box::pin(store::lose_mail(tx, id)));
                if lost.await? {
                    tracing::warn!(mail.id = %id, "a mail is given up: it is not known whether it was sent");
                    return Ok(Fate::Uncertain);
                }
                Ok(Fate::NotOurs)
            }
            (Some(template), Some(_)) => self.send(SendMail { id, template }).await,
            (_, None) => {
                let dropped = self.db.write(move |tx| Box::pin(store::drop_mail(tx, id)));
                dropped.await?;
                Ok(Fate::Dropped)
            }
            // Of a later version, which sends it itself.
            (None, Some(_)) => Ok(Fate::NotOurs),
        }
    }
}

/// Sends mails as they become due.
pub(crate) struct Sending(Auth);

impl Sending {
    pub fn of(auth: &Auth) -> Arc<dyn Background> {
        Arc::new(Self(auth.clone()))
    }
}

#[async_trait]
impl Background for Sending {
    fn name(&self) -> &'static str {
        "mails to accounts"
    }

    async fn run(&self, stop: CancellationToken) -> anyhow::Result<()> {
        let Self(auth) = self;
        if !auth.mails.deliver() {
            tracing::info!(
                service = NAME,
                "mails go to the log: neither SMTP_URL nor SENDGRID_API_KEY is set"
            );
        }
        let mut reminder = Reminder::default();
        let mut tidy_at = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = auth.mails.bell.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            match auth.send_mails().await {
                // There may be more.
                Ok(fates) if fates.iter().any(|fate| *fate != Fate::NotOurs) => {
                    auth.mails.bell.notify_one();
                }
                Ok(_) => drop(reminder.is_over()),
                Err(error) if reminder.is_due(&chain(&error)) => {
                    tracing::warn!(error = %chain(&error), "mails wait: the store can't be used");
                }
                Err(_) => {}
            }
            if Instant::now() >= tidy_at {
                tidy_at = Instant::now() + TIDY_EVERY;
                let before = auth.clock.now() - KEPT;
                let tidied = auth
                    .db
                    .write(move |tx| Box::pin(store::forget_mails(tx, before)));
                if let Err(error) = tidied.await {
                    tracing::debug!(error = %chain(&error), "old mails stay for now");
                }
            }
        }
    }
}
