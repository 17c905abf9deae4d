//! The token in a link that is mailed: 32 random bytes. The store has their hash alone.

use blocks::FieldErrors;
use chrono::{DateTime, Utc};

use crate::Auth;
use crate::domain::key;
use crate::error::{AuthError, MailFault};
use crate::mails::Template;
use crate::secrets;
use crate::store::{self, MailedLink};

/// A token, as it stands in a link.
pub(crate) struct Token(String);

impl Token {
    /// A new one.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn random() -> Result<Self, MailFault> {
        Ok(Self(hex::encode(secrets::random()?)))
    }

    /// The one that somebody sent, whatever it is.
    pub fn sent(text: String) -> Self {
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the store has of it.
    pub fn hash(&self) -> Vec<u8> {
        secrets::hash(&self.0)
    }
}

/// The error about a token that opens nothing.
pub(crate) fn refused(why: &'static str) -> AuthError {
    FieldErrors::one("token", why).into()
}

pub(crate) const USED: &str = "was used already";

/// The link of a token that is for one of `templates` and may be used now.
///
/// # Errors
/// Names the field `token`, with the reason.
pub(crate) async fn find(
    auth: &Auth,
    token: &Token,
    templates: &[Template],
    now: DateTime<Utc>,
) -> Result<MailedLink, AuthError> {
    let found = store::link(&mut auth.db.read().await?, &token.hash()).await?;
    let link = found.ok_or_else(|| refused("is unknown: copy the link as it was mailed"))?;
    let is_meant = templates.iter().any(|of| of.name() == link.template);
    let is_pending = link.pending_email.as_ref() == Some(&link.address);
    let is_own = key(&link.address) == key(&link.email)
        || (is_pending && templates == [Template::VerifyEmail]);
    if !is_meant {
        Err(refused("is for something else"))
    } else if link.link_used_at.is_some() {
        Err(refused(USED))
    } else if link.link_until <= now {
        Err(refused("has expired; ask for another link"))
    } else if !is_own {
        Err(refused("is for an address that is no longer wanted"))
    } else {
        Ok(link)
    }
}
