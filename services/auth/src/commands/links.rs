//! Links that are mailed: for a forgotten password, and to verify an address.

use blocks::extract::ClientAddress;
use blocks::{Caller, Command};
use mail::Language;

use super::accounts::taken;
use crate::client::Client;
use crate::domain::{AccountEvent, EmailAddress, check_new_password, key};
use crate::error::AuthError;
use crate::integration::publish;
use crate::links::{self, Token, USED};
use crate::mails::Template;
use crate::memory::advance;
use crate::{Auth, queries, store};

/// Mails a link for a new password to whoever has an address. Nothing shows whether anybody has: neither the answer nor
/// the time that it takes. Beyond the limit of an account no mail is sent, and nothing shows that either.
pub struct ForgotPassword {
    pub email: EmailAddress,
    pub client: ClientAddress,
    /// The language that the request asks for.
    pub language: Option<Language>,
}
blocks::operation!(ForgotPassword -> Result<(), AuthError>, "auth.forgot_password");

impl Command<Auth> for ForgotPassword {
    async fn run(self, on: &Auth) -> Result<(), AuthError> {
        let Self {
            email,
            client,
            language,
        } = self;
        let counted = on.mails.limits.of_client(client).await?;
        counted.map_err(AuthError::TooManyMails)?;
        if on.mails.limits.to_email(email.as_str()).await?.is_err() {
            return Ok(());
        }
        let auth = on.clone();
        let write = on.db.write(move |tx| {
            Box::pin(async move {
                let languages = auth.mails.languages(language);
                store::add_reset(tx, email.as_str(), languages).await?;
                auth.mails.wake(tx);
                Ok(())
            })
        });
        write.await
    }
}

/// Gives an account the password that its owner chose by a link, and ends all its sessions. The number of these.
pub struct ResetPassword {
    pub token: String,
    pub new: String,
    pub client: Client,
}
blocks::operation!(ResetPassword -> Result<usize, AuthError>, "auth.reset_password");

impl Command<Auth> for ResetPassword {
    async fn run(self, on: &Auth) -> Result<usize, AuthError> {
        let Self { token, new, client } = self;
        let place = on.attempts.place(&client);
        check_new_password(&new)?;
        let now = on.clock.now();
        let link = links::find(on, &Token::sent(token), &Template::RESETS, now).await?;
        let id = link.user_id;
        let account = queries::account(on, id).await?.ok_or(AuthError::NoUser)?;
        let known = account.terms().into_iter().collect();
        let hash = on.passwords.hash(new, known).await;
        let hash = hash.map_err(|error| AuthError::NewPassword("new_password", error))?;
        let auth = on.clone();
        let write = on.write_account(id, move |tx, account| {
            Box::pin(async move {
                let before = advance(tx, id, 0).await?;
                if !store::use_link(tx, link.id).await? {
                    return Err(links::refused(USED));
                }
                store::set_password(tx, id, None, &hash).await?;
                if let Some(place) = place {
                    store::note_place(tx, id, &place).await?;
                }
                store::unlink_unverified(tx, id).await?;
                // Whoever has the link has shown that mail arrives.
                store::note_verified(tx, id, &link.address).await?;
                auth.mails.tell_new_password(tx, id).await?;
                account.end_all(tx, before, None).await
            })
        });
        let ended = write.await?;
        on.attempts.forget(&account).await?;
        Ok(ended)
    }
}

/// Verifies an address by the link that was mailed to it; one that waited for that becomes the account's.
pub struct VerifyEmail {
    pub token: String,
}
blocks::operation!(VerifyEmail -> Result<(), AuthError>, "auth.verify_email");

impl Command<Auth> for VerifyEmail {
    async fn run(self, on: &Auth) -> Result<(), AuthError> {
        let (now, token) = (on.clock.now(), Token::sent(self.token));
        let link = links::find(on, &token, &[Template::VerifyEmail], now).await?;
        let (id, auth) = (link.user_id, on.clone());
        let write = on.write_account(id, move |tx, account| {
            Box::pin(async move {
                let before = store::email_of(tx, id).await?.ok_or(AuthError::NoUser)?;
                if !store::use_link(tx, link.id).await? {
                    return Err(links::refused(USED));
                }
                let verified = store::verify_email(tx, id, &link.address).await;
                let verified = verified.map_err(|error| match taken(error) {
                    AuthError::Taken(_) => AuthError::TakenMeanwhile,
                    other => other,
                })?;
                let (verified, version) =
                    verified.ok_or(links::refused("is for an address that is no longer wanted"))?;
                publish(tx, AccountEvent::Changed(&verified), version).await?;
                if key(&before) != key(&verified.email) {
                    auth.mails.tell_new_email(tx, &before, &verified).await?;
                }
                let change = account.changed(version);
                account.tell(tx, version, vec![change]).await
            })
        });
        write.await
    }
}

/// Mails another link to the address that the caller has to verify: the one that waits, else the account's own.
pub struct ResendVerification {
    pub by: Caller,
    /// The language that the request asks for.
    pub language: Option<Language>,
}
blocks::operation!(ResendVerification -> Result<(), AuthError>, "auth.resend_verification", |it| user.id = it.by.id);

impl Command<Auth> for ResendVerification {
    async fn run(self, on: &Auth) -> Result<(), AuthError> {
        let Self { by, language } = self;
        let counted = on.mails.limits.of_account(by.id).await?;
        counted.map_err(AuthError::MailsUsedUp)?;
        let auth = on.clone();
        let write = on.db.write(move |tx| {
            Box::pin(async move {
                let address = store::unverified(tx, by.id).await?;
                let address = address.ok_or(AuthError::Verified)?;
                let languages = auth.mails.languages(language);
                let template = Template::VerifyEmail;
                store::add_mail(tx, by.id, template, &address, languages).await?;
                auth.mails.wake(tx);
                Ok(())
            })
        });
        write.await
    }
}
