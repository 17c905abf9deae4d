//! The commands of auth. Each is one write of the state and its event.

use blocks::Role;
use blocks::identity::AccessClaims;
use events::users::{UserAuthenticated, UserCreated, UserUpdated};
use sql::StoreError;
use uuid::Uuid;

use crate::attempts::TooMany;
use crate::domain::{Account, AccountChange, Login, NewAccount, check_attempt};
use crate::error::AuthError;
use crate::memory::advance;
use crate::revocations::Change;
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

/// Opens an account.
///
/// # Errors
/// [`AuthError::Taken`] when another account has the address or the name, whatever its case.
pub async fn register(auth: &Auth, new: NewAccount, role: Role) -> Result<Account, AuthError> {
    let new = new.check()?;
    let hash = auth.passwords.hash(new.password.clone()).await?;
    auth.db
        .write(move |tx| {
            Box::pin(async move {
                let account = store::add_account(tx, &new, &hash, role)
                    .await
                    .map_err(taken)?;
                let created = UserCreated {
                    user_id: account.id,
                    username: account.username.clone(),
                    email: account.email.clone(),
                    role: role.to_string(),
                };
                tx.publish(&created, 1).await?;
                Ok(account)
            })
        })
        .await
}

/// Checks the password and begins a session.
///
/// # Errors
/// [`AuthError::BadCredentials`], after the same work, whether or not there is such an account;
/// [`AuthError::TooManyAttempts`] before any work.
pub async fn login(
    auth: &Auth,
    login: Login,
    password: String,
    user_agent: Option<String>,
) -> Result<LoggedIn, AuthError> {
    check_attempt(&password)?;
    let account = prove(auth, &login, password).await?;
    let session = auth.clock.id();
    let now = auth.clock.now();
    let expires = now + auth.token_ttl;
    let claims = AccessClaims {
        sub: account.id,
        name: account.username.clone(),
        email: account.email.clone(),
        role: account.role(),
        sid: session,
        iss: auth.issuer.clone(),
        aud: AUDIENCE.to_owned(),
        iat: now.timestamp(),
        nbf: None,
        exp: expires.timestamp(),
        jti: auth.clock.id(),
    };
    let user_id = account.id;
    auth.write_account(user_id, move |tx, account| {
        Box::pin(async move {
            let version = advance(tx, user_id, 1).await?;
            let ended = store::end_oldest(tx, user_id, MAX_SESSIONS - 1).await?;
            store::add_session(tx, session, user_id, user_agent.as_deref(), expires).await?;
            let authenticated = UserAuthenticated {
                user_id,
                session_id: session,
            };
            tx.publish(&authenticated, version).await?;
            if !ended.is_empty() {
                account.end(tx, version, &ended, None).await?;
            }
            Ok(())
        })
    })
    .await?;
    auth.revocations.tidy(now);
    Ok(LoggedIn {
        access_token: claims.sign(auth.keyring.signing()),
        expires_in: auth.token_ttl.num_seconds(),
    })
}

/// The account of `login`, if the password is right.
async fn prove(auth: &Auth, login: &Login, password: String) -> Result<Credentials, AuthError> {
    let attempt = auth
        .attempts
        .begin(login, auth.clock.now())
        .map_err(|TooMany(retry_after)| AuthError::TooManyAttempts { retry_after })?;
    let checked = async {
        let found = store::credentials(&mut auth.db.read().await?, login).await?;
        let stored = found.as_ref().map(|account| account.password_hash.clone());
        let right = auth.passwords.check(password, stored).await?;
        Ok::<_, AuthError>(found.filter(|_| right))
    }
    .await;
    match checked {
        Ok(Some(account)) => {
            attempt.not_wrong();
            auth.attempts.clear(&Login::Email(account.email.clone()));
            auth.attempts
                .clear(&Login::Username(account.username.clone()));
            Ok(account)
        }
        Ok(None) => Err(AuthError::BadCredentials),
        Err(error) => {
            attempt.not_wrong();
            Err(error)
        }
    }
}

/// Changes name and age of an account. From the answer on, every token of the account answers the
/// new name.
///
/// # Errors
/// [`AuthError::Taken`] when another account has the name.
pub async fn change_account(
    auth: &Auth,
    user_id: i64,
    change: AccountChange,
) -> Result<Account, AuthError> {
    if change.is_empty() {
        return crate::queries::account(auth, user_id).await;
    }
    auth.write_account(user_id, move |tx, account| {
        Box::pin(async move {
            let (changed, version) = store::change_account(tx, user_id, &change)
                .await
                .map_err(taken)?
                .ok_or(AuthError::NoAccount)?;
            let updated = UserUpdated {
                user_id,
                username: changed.username.clone(),
                role: changed.role.to_string(),
            };
            tx.publish(&updated, version).await?;
            let change = account.changed(version);
            account.tell(tx, version, vec![change]).await?;
            Ok(changed)
        })
    })
    .await
}

/// Ends one session of an account. Its tokens are refused from the answer on.
///
/// # Errors
/// [`AuthError::NoSession`] when the account has no such live session.
pub async fn end_session(auth: &Auth, user_id: i64, session: Uuid) -> Result<(), AuthError> {
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

/// Ends all sessions of an account; returns the number of live ones.
///
/// # Errors
/// [`AuthError::NoAccount`] when there is no such account.
pub async fn end_sessions(auth: &Auth, user_id: i64) -> Result<usize, AuthError> {
    auth.write_account(user_id, move |tx, account| {
        Box::pin(async move {
            let before = advance(tx, user_id, 0).await?;
            let ended = store::end_sessions(tx, user_id).await?;
            let earlier = Change::SessionsBefore {
                user_id,
                time: tx.now(),
                until: account.until(),
            };
            account.end(tx, before, &ended, Some(earlier)).await?;
            Ok(ended.len())
        })
    })
    .await
}

fn taken(error: StoreError) -> AuthError {
    if error.is_unique("users", "email_key") {
        AuthError::Taken("email")
    } else if error.is_unique("users", "username_key") {
        AuthError::Taken("username")
    } else {
        AuthError::Store(error)
    }
}
