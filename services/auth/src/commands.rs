//! The commands of auth. Each is one write of the state and its event.

mod accounts;
mod oidc;
mod passwords;

pub use accounts::{ChangeAccount, CloseAccount, OpenAccount};
pub use oidc::{ExchangeCode, SignIn, SignedIn};
pub use passwords::ChangePassword;

use blocks::identity::AccessClaims;
use blocks::{Caller, Command};
use uuid::Uuid;

use crate::domain::{AccountEvent, Login, check_attempt};
use crate::error::AuthError;
use crate::integration::publish;
use crate::memory::advance;
use crate::store::Credentials;
use crate::{AUDIENCE, Auth, store};

/// Live sessions of an account. A login beyond them ends the oldest.
const MAX_SESSIONS: i64 = 100;

/// A login: the token and its lifetime.
pub struct LoggedIn {
    /// The token, to be sent as `Authorization: Bearer`.
    pub access_token: String,
    /// The lifetime in seconds.
    pub expires_in: i64,
}

/// Checks the password and begins a session. [`AuthError::BadCredentials`] comes after the same work, whether or
/// not there is such an account; [`AuthError::TooManyAttempts`] before any work.
pub struct LogIn {
    pub login: Login,
    pub password: String,
    pub user_agent: Option<String>,
}
blocks::operation!(LogIn -> Result<LoggedIn, AuthError>, "auth.login");

impl Command<Auth> for LogIn {
    async fn run(self, on: &Auth) -> Result<LoggedIn, AuthError> {
        check_attempt("password", &self.password)?;
        let account = prove(on, &self.login, self.password).await?;
        begin_session(on, account, self.user_agent).await
    }
}

/// Begins a session of `account`, which somebody has just proven to be theirs. [`AuthError::BadCredentials`] if it
/// has got another password since it was read, or nobody can log in to it any more.
pub(crate) async fn begin_session(
    on: &Auth,
    account: Credentials,
    user_agent: Option<String>,
) -> Result<LoggedIn, AuthError> {
    let session = on.clock.id();
    let now = on.clock.now();
    let expires = now + on.token_ttl;
    let claims = AccessClaims {
        sub: account.id,
        name: account.username.clone(),
        email: account.email.clone(),
        role: account.role(),
        sid: session,
        iss: on.issuer.clone(),
        aud: AUDIENCE.to_owned(),
        iat: now.timestamp(),
        nbf: None,
        exp: expires.timestamp(),
        jti: on.clock.id(),
    };
    let (user_id, proven) = (account.id, account);
    on.write_account(user_id, move |tx, account| {
        Box::pin(async move {
            // Since its password was checked, the account may have got another one, or have been closed.
            let version = store::note_login(tx, &proven).await?;
            let version = version.ok_or(AuthError::BadCredentials)?;
            let ended = store::end_oldest(tx, user_id, MAX_SESSIONS - 1).await?;
            store::add_session(tx, session, user_id, user_agent.as_deref(), expires).await?;
            let began = AccountEvent::LoggedIn { user_id, session };
            publish(tx, began, version).await?;
            if !ended.is_empty() {
                account.end(tx, version, &ended, None).await?;
            }
            Ok(())
        })
    })
    .await?;
    on.revocations.tidy(now);
    Ok(LoggedIn {
        access_token: claims.sign(on.keyring.signing()),
        expires_in: on.token_ttl.num_seconds(),
    })
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
    match prove(auth, &Login::Id(by.id), password).await {
        Err(AuthError::BadCredentials) => Err(AuthError::WrongPassword(field)),
        Err(AuthError::TooManyAttempts(limit)) => Err(AuthError::PasswordsUsedUp(limit)),
        proven => proven,
    }
}

/// The account of `login`, if the password is right.
async fn prove(auth: &Auth, login: &Login, password: String) -> Result<Credentials, AuthError> {
    let attempt = auth.attempts.begin(login).await?;
    let checked = async {
        let found = store::credentials(&mut auth.db.read().await?, login).await?;
        let stored = found.as_ref().and_then(Credentials::password_hash);
        let right = auth.passwords.check(password, stored).await?;
        Ok::<_, AuthError>(found.filter(|_| right))
    }
    .await;
    match checked {
        Ok(Some(account)) => {
            auth.attempts.clear(&account).await?;
            if account.is_active {
                Ok(account)
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
            let until = store::end_session(tx, user_id, session)
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
