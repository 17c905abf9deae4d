//! The token in a link that is mailed: 32 random bytes. The store has their hash alone.

use blocks::FieldErrors;
use chrono::{DateTime, Utc};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

use crate::Auth;
use crate::domain::key;
use crate::error::{AuthError, MailFault};
use crate::mails::Template;
use crate::store::{self, MailedLink};

const BYTES: usize = 32;

/// A token, as it stands in a link.
pub(crate) struct Token(String);

impl Token {
    /// A new one.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn random() -> Result<Self, MailFault> {
        let mut bytes = [0; BYTES];
        let filled = SystemRandom::new().fill(&mut bytes);
        filled.map_err(|_| blocks::identity::KeyError::Random)?;
        Ok(Self(hex::encode(bytes)))
    }

    /// The one that somebody sent, whatever it is.
    pub fn sent(text: String) -> Self {
        Self(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the store has of it. It is as random as a key, so a quick hash does.
    pub fn hash(&self) -> Vec<u8> {
        digest(&SHA256, self.0.as_bytes()).as_ref().to_vec()
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
