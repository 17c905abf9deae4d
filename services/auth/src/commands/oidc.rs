//! Signing in by a provider.

use blocks::Command;
use chrono::TimeDelta;
use sql::Tx;

use super::accounts::{names, taken};
use super::{LoggedIn, begin_session};
use crate::client::Client;
use crate::domain::{AccountEvent, Login, NewAccount, Registration, Username};
use crate::error::AuthError;
use crate::integration::publish;
use crate::oidc::{Attempt, OidcError, Person, secret};
use crate::secrets;
use crate::store::{Credentials, KnownAccount};
use crate::{Auth, store};

/// How long a page may take to exchange its code.
const CODE_FOR: TimeDelta = TimeDelta::minutes(1);

/// A sign-in: the session, or a code for one.
pub enum SignedIn {
    Session(LoggedIn),
    Code(String),
}

/// Signs in whoever the provider gave `code` for. Somebody new gets an account; one that has their address is theirs
/// only if both sides have verified it.
pub struct SignIn {
    pub attempt: Attempt,
    pub code: String,
    pub client: Client,
}
blocks::operation!(SignIn -> Result<SignedIn, AuthError>, "auth.sign_in", |it| provider = it.attempt.provider);

impl Command<Auth> for SignIn {
    async fn run(self, on: &Auth) -> Result<SignedIn, AuthError> {
        let Self {
            attempt,
            code,
            client,
        } = self;
        let provider = on.oidc.provider(&attempt.provider)?;
        let person = provider.redeem(code, &attempt, on.clock.now()).await?;
        let code = attempt.return_to.as_ref().map(|_| secret()).transpose()?;
        let id = enter(on, person, &attempt, code.as_deref()).await?;
        if let Some(code) = code {
            return Ok(SignedIn::Code(code));
        }
        let account = credentials(on, id).await?.ok_or(OidcError::NoAttempt)?;
        let begun = begin_session(on, account.into(), client).await;
        begun
            .map(SignedIn::Session)
            .map_err(|error| or_late(error, OidcError::NoAttempt))
    }
}

/// Begins the session that a code is for.
pub struct ExchangeCode {
    pub code: String,
    pub client: Client,
}
blocks::operation!(ExchangeCode -> Result<LoggedIn, AuthError>, "auth.exchange_code");

impl Command<Auth> for ExchangeCode {
    async fn run(self, on: &Auth) -> Result<LoggedIn, AuthError> {
        let hash = secrets::hash(&self.code);
        let id = store::account_of_code(&mut on.db.read().await?, &hash, on.clock.now()).await?;
        // Read before the code is used up: what ends sessions removes it, or is noticed below.
        let account = credentials(on, id.ok_or(OidcError::NoCode)?).await?;
        let account = account.ok_or(OidcError::NoCode)?;
        let write = on
            .db
            .write(move |tx| Box::pin(async move { store::take_code(tx, &hash).await }));
        if !write.await? {
            return Err(OidcError::NoCode.into());
        }
        let begun = begin_session(on, account.into(), self.client).await;
        begun.map_err(|error| or_late(error, OidcError::NoCode))
    }
}

/// The account, where somebody can log in to it.
async fn credentials(on: &Auth, id: i64) -> Result<Option<Credentials>, AuthError> {
    let found = store::credentials(&mut on.db.read().await?, &Login::Id(id)).await?;
    match found {
        Some(account) if !account.is_active => Err(AuthError::Inactive),
        found => Ok(found),
    }
}

/// Where the account changed meanwhile: no password was wrong.
fn or_late(error: AuthError, late: OidcError) -> AuthError {
    match error {
        AuthError::BadCredentials => late.into(),
        error => error,
    }
}

/// Finds or opens the account of `person`, in one write that uses the attempt up and stores `code`.
async fn enter(
    on: &Auth,
    person: Person,
    attempt: &Attempt,
    code: Option<&str>,
) -> Result<i64, AuthError> {
    let state = (secrets::hash(&attempt.state), attempt.expires_at);
    let code = code.map(|code| (secrets::hash(code), on.clock.now() + CODE_FOR));
    let new = registration(&person);
    let requires_verified = on.mails.settings.requires_verified;
    // Without an address there is no account to open, but there may be one.
    let tries = match &new {
        Ok(new) => names(on, new).into_iter().map(Some).collect(),
        Err(_) => vec![None],
    };
    let mut last = AuthError::Taken("username");
    for name in tries {
        let new = match (&new, name) {
            (Ok(new), Some(name)) => Some((new.clone(), name)),
            _ => None,
        };
        let (person, state, code) = (person.clone(), state.clone(), code.clone());
        let write = on.db.write(move |tx| {
            Box::pin(async move {
                if !store::use_state(tx, &state.0, state.1).await? {
                    return Err(OidcError::NoAttempt.into());
                }
                let account = find_or_open(tx, &person, new, requires_verified).await?;
                if !account.is_active {
                    return Err(AuthError::Inactive);
                }
                if requires_verified && !account.email_verified {
                    return Err(AuthError::Unverified);
                }
                if let Some((hash, until)) = code {
                    store::add_code(tx, &hash, account.id, until).await?;
                }
                Ok(account.id)
            })
        });
        match write.await {
            // The name, or somebody was first with the address: then what they did is found.
            Err(AuthError::Taken(what)) => last = AuthError::Taken(what),
            done => return done,
        }
    }
    Err(new.err().map_or(last, AuthError::from))
}

/// The account to open for `person`.
fn registration(person: &Person) -> Result<NewAccount, OidcError> {
    let new = Registration {
        first_name: person.first_name.clone(),
        last_name: person.last_name.clone(),
        full_name: person.full_name.clone(),
        ..Registration::at(person.email.clone().ok_or(OidcError::NoEmail)?)
    };
    new.check().map_err(|_| OidcError::BadEmail)
}

/// The account that is linked to `person`, or is now. [`AuthError::Taken`] without `new`, and where another write was
/// first.
async fn find_or_open(
    tx: &mut Tx,
    person: &Person,
    new: Option<(NewAccount, Username)>,
    requires_verified: bool,
) -> Result<KnownAccount, AuthError> {
    let Person {
        issuer, subject, ..
    } = person;
    if let Some(account) = store::account_of_identity(tx, issuer, subject).await? {
        let proven = person.email.as_deref().filter(|_| person.email_verified);
        let Some(address) = proven.filter(|_| !account.email_verified) else {
            return Ok(account);
        };
        store::note_verified(tx, account.id, address).await?;
        let account = store::account_of_identity(tx, issuer, subject).await?;
        return account.ok_or(OidcError::NoAttempt.into());
    }
    let (new, name) = new.ok_or(AuthError::Taken("email"))?;
    let account = match store::account_to_link(tx, new.email.as_str()).await? {
        Some(account) if !(account.email_verified && person.email_verified) => {
            return Err(OidcError::EmailTaken.into());
        }
        Some(account) if !account.is_active => return Err(AuthError::Inactive),
        Some(account) => account,
        None if requires_verified && !person.email_verified => return Err(AuthError::Unverified),
        None => {
            let opened = store::add_account(tx, &new, &name, None)
                .await
                .map_err(taken)?;
            if person.email_verified {
                store::note_verified(tx, opened.id, &opened.email).await?;
            }
            publish(tx, AccountEvent::Opened(&opened), 1).await?;
            KnownAccount {
                id: opened.id,
                is_active: opened.is_active,
                email_verified: person.email_verified,
            }
        }
    };
    if !store::add_identity(tx, account.id, issuer, subject).await? {
        // Linked to somebody else there; or this one was linked by another write just now.
        return match store::account_of_identity(tx, issuer, subject).await? {
            Some(_) => Err(AuthError::Taken("email")),
            None => Err(OidcError::EmailTaken.into()),
        };
    }
    Ok(account)
}
