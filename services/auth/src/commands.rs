//! The commands of auth. Each is one write of the state and its event.

mod accounts;
mod imports;
mod keys;
mod links;
mod oidc;
mod passwords;
mod refresh;

pub use accounts::{ChangeAccount, CloseAccount, OpenAccount};
pub use imports::ImportAccounts;
pub use keys::RotateKeys;
pub use links::{ForgotPassword, ResendVerification, ResetPassword, VerifyEmail};
pub use oidc::{ExchangeCode, SignIn, SignedIn};
pub use passwords::ChangePassword;
pub use refresh::Refresh;

use blocks::identity::AccessClaims;
use blocks::{Caller, Command};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::attempts::Attempt;
use crate::client::Client;
use crate::domain::{AccountEvent, Login, check_attempt};
use crate::error::{AuthError, OpenError};
use crate::integration::publish;
use crate::memory::advance;
use crate::passwords::Checked;
use crate::refresh::RefreshToken;
use crate::store::Credentials;
use crate::{AUDIENCE, Auth, store};

/// Live sessions of an account. A login beyond them ends the oldest.
const MAX_SESSIONS: i64 = 100;

/// A login: its tokens and their lifetimes.
pub struct LoggedIn {
    /// The token, to be sent as `Authorization: Bearer`.
    pub access_token: String,
    /// The lifetime in seconds.
    pub expires_in: i64,
    /// The token that is exchanged for the next two.
    pub refresh_token: String,
    /// The lifetime in seconds.
    pub refresh_expires_in: i64,
}

/// Checks the password and begins a session. [`AuthError::BadCredentials`] comes after the same work, whether or
/// not there is such an account; [`AuthError::TooManyAttempts`] before any work.
pub struct LogIn {
    pub login: Login,
    pub password: String,
    pub client: Client,
}
blocks::operation!(LogIn -> Result<LoggedIn, AuthError>, "auth.login");

impl Command<Auth> for LogIn {
    async fn run(self, on: &Auth) -> Result<LoggedIn, AuthError> {
        let Self {
            login,
            password,
            client,
        } = self;
        check_attempt("password", &password)?;
        let proven = prove(on, &login, password.clone(), Some(&client)).await?;
        let renews = proven.renewed.is_some();
        match begin_session(on, proven, client.clone()).await {
            // Of several logins at once, one renews the hash that all have checked.
            Err(AuthError::BadCredentials) if renews => {
                let proven = prove(on, &login, password, Some(&client)).await?;
                begin_session(on, proven, client).await
            }
            begun => begun,
        }
    }
}

/// Begins a session of an account, which somebody has just proven to be theirs. [`AuthError::BadCredentials`] if it
/// has got another password since it was read, or nobody can log in to it any more.
async fn begin_session(
    on: &Auth,
    Proven { account, renewed }: Proven,
    client: Client,
) -> Result<LoggedIn, AuthError> {
    if on.mails.settings.requires_verified && !account.email_verified {
        return Err(AuthError::Unverified);
    }
    let (user_id, session) = (account.id, on.clock.id());
    let token = RefreshToken::first(session).map_err(OpenError::from)?;
    let now = on.clock.now();
    let (holder, hash, ends_at) = (account.caller(session), token.hash(), now + on.refresh_ttl);
    let place = on.attempts.place(&client);
    on.write_account(user_id, move |tx, write| {
        Box::pin(async move {
            let version = store::note_login(tx, &account, renewed.as_deref()).await?;
            let version = version.ok_or(AuthError::BadCredentials)?;
            let ended = store::end_oldest(tx, user_id, MAX_SESSIONS - 1, write.until()).await?;
            store::add_session(tx, (session, user_id), &client, &hash, ends_at).await?;
            if let Some(place) = place {
                store::note_place(tx, user_id, &place).await?;
            }
            let began = AccountEvent::LoggedIn { user_id, session };
            publish(tx, began, version).await?;
            if !ended.is_empty() {
                write.end(tx, version, &ended, None).await?;
            }
            Ok(())
        })
    })
    .await?;
    on.revocations.tidy(now);
    Ok(issue(on, &holder, &token, ends_at))
}

/// The tokens of a session that lives.
fn issue(on: &Auth, holder: &Caller, token: &RefreshToken, ends_at: DateTime<Utc>) -> LoggedIn {
    let now = on.clock.now();
    let claims = AccessClaims {
        sub: holder.id,
        name: holder.name.to_string(),
        email: holder.email.to_string(),
        role: holder.role,
        sid: holder.session,
        iss: on.issuer.clone(),
        aud: AUDIENCE.to_owned(),
        iat: now.timestamp(),
        nbf: None,
        exp: (now + on.token_ttl).timestamp(),
        jti: on.clock.id(),
    };
    LoggedIn {
        access_token: claims.sign(&on.keyring.signing()),
        expires_in: on.token_ttl.num_seconds(),
        refresh_token: on.refresh.text(token),
        refresh_expires_in: (ends_at - now).num_seconds(),
    }
}

/// Whoever has proven that an account is theirs.
struct Proven {
    account: Credentials,
    /// The hash to be stored in place of the one that was checked.
    renewed: Option<String>,
}

impl From<Credentials> for Proven {
    fn from(account: Credentials) -> Self {
        let renewed = None;
        Self { account, renewed }
    }
}

/// Holds the caller to the own password in `field`, for what can't be undone. It is counted by the account's number:
/// a new name gives no new attempts.
async fn prove_own(
    auth: &Auth,
    by: &Caller,
    field: &'static str,
    password: String,
) -> Result<Credentials, AuthError> {
    check_attempt(field, &password)?;
    match prove(auth, &Login::Id(by.id), password, None).await {
        Err(AuthError::BadCredentials) => Err(AuthError::WrongPassword(field)),
        Err(AuthError::TooManyAttempts(limit)) => Err(AuthError::PasswordsUsedUp(limit)),
        proven => Ok(proven?.account),
    }
}

/// Begins an attempt at `login`: the way of a client whose network the account knows is open while others guess.
async fn begin_attempt(
    auth: &Auth,
    login: &Login,
    client: Option<&Client>,
) -> Result<Attempt, AuthError> {
    let begun = auth.attempts.begin(login).await;
    if !matches!(begun, Err(AuthError::TooManyAttempts(_))) {
        return begun;
    }
    let Some(place) = client.and_then(|client| auth.attempts.place(client)) else {
        return begun;
    };
    let mut reader = auth.db.read().await?;
    let account = store::credentials(&mut reader, login).await?;
    // Looked up for nobody, too, so that it takes as long.
    let id = account.map_or(0, |account| account.id);
    if store::knows_place(&mut reader, id, &place, auth.clock.now()).await? {
        auth.attempts.begin_at(id, &place).await
    } else {
        begun
    }
}

/// The account of `login`, if the password is right.
async fn prove(
    auth: &Auth,
    login: &Login,
    password: String,
    client: Option<&Client>,
) -> Result<Proven, AuthError> {
    let attempt = begin_attempt(auth, login, client).await?;
    let checked = async {
        let found = store::credentials(&mut auth.db.read().await?, login).await?;
        let stored = found.as_ref().and_then(Credentials::password_hash);
        let renewed = match auth.passwords.check(password, stored).await? {
            Checked::Wrong => return Ok(None),
            Checked::Right => None,
            Checked::Outdated(renewed) => Some(renewed),
        };
        Ok::<_, AuthError>(found.map(|account| Proven { account, renewed }))
    }
    .await;
    match checked {
        Ok(Some(proven)) => {
            auth.attempts.clear(&proven.account, &attempt).await?;
            if proven.account.is_active {
                Ok(proven)
            } else {
                Err(AuthError::Inactive)
            }
        }
        Ok(None) => Err(AuthError::BadCredentials),
        Err(error) => {
            auth.attempts.take_back(attempt).await?;
            Err(error)
        }
    }
}

/// Ends the caller's own session. Its tokens are refused from the answer on.
pub struct LogOut {
    pub by: Caller,
}
blocks::operation!(LogOut -> Result<(), AuthError>, "auth.logout", |it| user.id = it.by.id);

impl Command<Auth> for LogOut {
    async fn run(self, on: &Auth) -> Result<(), AuthError> {
        match end_session(on, self.by.id, self.by.session).await {
            // Ended by a concurrent request, as was asked for.
            Err(AuthError::NoSession) => Ok(()),
            ended => ended,
        }
    }
}

/// Ends one of the caller's sessions. Its tokens are refused from the answer on.
pub struct EndSession {
    pub by: Caller,
    pub session: Uuid,
}
blocks::operation!(EndSession -> Result<(), AuthError>, "auth.end_session",
    |it| user.id = it.by.id, session.id = %it.session);

impl Command<Auth> for EndSession {
    async fn run(self, on: &Auth) -> Result<(), AuthError> {
        end_session(on, self.by.id, self.session).await
    }
}

async fn end_session(auth: &Auth, user_id: i64, session: Uuid) -> Result<(), AuthError> {
    auth.write_account(user_id, move |tx, account| {
        Box::pin(async move {
            // The account's row first, as in every write here, so that no two of them deadlock.
            let before = advance(tx, user_id, 0).await?;
            let until = store::end_session(tx, user_id, session, account.until())
                .await?
                .ok_or(AuthError::NoSession)?;
            account.end(tx, before, &[(session, until)], None).await
        })
    })
    .await
}

/// Ends the sessions of an account; returns the number of live ones.
pub struct EndSessions {
    pub user_id: i64,
    /// The one that stays.
    pub but: Option<Uuid>,
}
blocks::operation!(EndSessions -> Result<usize, AuthError>, "auth.end_sessions", |it| user.id = it.user_id);

impl Command<Auth> for EndSessions {
    async fn run(self, on: &Auth) -> Result<usize, AuthError> {
        let Self { user_id, but } = self;
        let write = on.write_account(user_id, move |tx, account| {
            Box::pin(async move {
                let before = advance(tx, user_id, 0).await?;
                account.end_all(tx, before, but).await
            })
        });
        write.await
    }
}
