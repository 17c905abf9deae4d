//! What the port promises, held against every adapter.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mail::{LogMailer, Mail, MailError, Mailer};

use crate::mail;
use crate::sendgrid::SendGridApi;
use crate::smtp::SmtpSite;

/// What a provider does with a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    Takes,
    /// Not now.
    Defers,
    /// Never.
    Refuses,
    /// It has the whole mail, and says nothing.
    IsSilent,
    /// It has the whole mail, and closes the connection.
    HangsUp,
    /// Nobody listens.
    IsAway,
}

/// How long a silent provider is waited for in these tests.
pub const PATIENCE: Duration = Duration::from_millis(300);

/// An adapter, and the provider that it talks to.
#[async_trait]
pub trait Provider {
    /// An adapter over a provider that does this.
    async fn doing(&mut self, does: Does) -> Arc<dyn Mailer>;
    /// What the provider has taken or refused after having seen it whole: the Message-ID, and all of the mail.
    fn seen(&self) -> Vec<(String, String)>;
    /// What it cannot do: a provider that nobody asks never refuses.
    fn can(&self, does: Does) -> bool;
}

async fn errors_are_sorted(provider: &mut dyn Provider) {
    for (does, sorted) in [
        (Does::Takes, None),
        (Does::Defers, Some("retry")),
        (Does::Refuses, Some("refused")),
        (Does::IsSilent, Some("uncertain")),
        (Does::HangsUp, Some("uncertain")),
        (Does::IsAway, Some("retry")),
    ] {
        if !provider.can(does) {
            continue;
        }
        let mailer = provider.doing(does).await;
        let outcome = mailer.send(&mail()).await;
        let kind = outcome.as_ref().err().map(|error| match error {
            MailError::Retry(_) => "retry",
            MailError::Refused(_) => "refused",
            MailError::Uncertain(_) => "uncertain",
        });
        assert_eq!(kind, sorted, "{does:?}: {outcome:?}");
    }
}

async fn both_forms_and_the_same_id_arrive_each_time(provider: &mut dyn Provider) {
    let mailer = provider.doing(Does::Takes).await;
    mailer.send(&mail()).await.unwrap();
    mailer.send(&mail()).await.unwrap();
    let another = Mail {
        id: uuid::Uuid::from_u128(8),
        ..mail()
    };
    mailer.send(&another).await.unwrap();
    let seen = provider.seen();
    let [one, again, other] = seen.as_slice() else {
        panic!("{seen:?}");
    };
    assert_eq!(one.0, format!("<{}@rookery.example>", mail().id));
    assert_eq!(one.0, again.0);
    assert_ne!(one.0, other.0);
    for part in [
        "noreply@rookery.example",
        "ada@example.org",
        "auto-generated",
    ] {
        assert!(one.1.contains(part), "{part}: {}", one.1);
    }
    for part in [mail().content.text, mail().content.html] {
        assert!(one.1.contains(&part), "{part}: {}", one.1);
    }
}

async fn an_address_beyond_ascii_is_refused_and_nobody_is_asked(provider: &mut dyn Provider) {
    let mailer = provider.doing(Does::Takes).await;
    for to in [
        "ädä@example.org",
        "ada@example.org\r\nRCPT TO:<eve@example.org>",
    ] {
        let mail = Mail {
            to: to.into(),
            ..mail()
        };
        let refused = mailer.send(&mail).await;
        assert!(matches!(refused, Err(MailError::Refused(_))), "{refused:?}");
    }
    assert!(provider.seen().is_empty());
}

async fn holds(fresh: impl Fn() -> Box<dyn Provider>, keeps: bool) {
    errors_are_sorted(&mut *fresh()).await;
    an_address_beyond_ascii_is_refused_and_nobody_is_asked(&mut *fresh()).await;
    if keeps {
        both_forms_and_the_same_id_arrive_each_time(&mut *fresh()).await;
    }
}

#[tokio::test]
async fn smtp_keeps_the_contract() {
    holds(|| Box::new(SmtpSite::default()), true).await;
}

#[tokio::test]
async fn sendgrid_keeps_the_contract() {
    holds(|| Box::new(SendGridApi::default()), true).await;
}

/// It takes all, and keeps nothing.
struct Log;

#[async_trait]
impl Provider for Log {
    async fn doing(&mut self, _: Does) -> Arc<dyn Mailer> {
        Arc::new(LogMailer { shows_text: false })
    }
    fn seen(&self) -> Vec<(String, String)> {
        Vec::new()
    }
    fn can(&self, does: Does) -> bool {
        does == Does::Takes
    }
}

#[tokio::test]
async fn the_log_keeps_the_contract_and_reaches_nobody() {
    holds(|| Box::new(Log), false).await;
    assert!(!LogMailer { shows_text: false }.delivers());
}
