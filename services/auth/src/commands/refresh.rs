//! Exchanging refresh tokens.

use blocks::{Caller, Command};
use uuid::Uuid;

use super::{LoggedIn, issue};
use crate::client::Client;
use crate::error::AuthError;
use crate::memory::advance;
use crate::refresh::Presented;
use crate::{Auth, store};

/// Why the event of a session says that it ended, where two had its refresh token.
const REUSED: &str = "refresh_token_reused";

/// Exchanges a refresh token for its successor and an access token. One that was exchanged before ends its session,
/// unless that was just now and nobody has used the successor.
pub struct Refresh {
    pub token: String,
    pub client: Client,
}
blocks::operation!(Refresh -> Result<LoggedIn, AuthError>, "auth.refresh");

impl Command<Auth> for Refresh {
    async fn run(self, on: &Auth) -> Result<LoggedIn, AuthError> {
        let token = on.refresh.read(&self.token);
        let token = token.ok_or(AuthError::BadRefreshToken)?;
        let (session, hash) = (token.session(), token.hash());
        let successor = on.refresh.successor(&token);
        loop {
            let now = on.clock.now();
            let found = store::family(&mut on.db.read().await?, session).await?;
            let (holder, family) = found.ok_or(AuthError::BadRefreshToken)?;
            let ends_at = match family.judge(&hash, now) {
                Presented::Ended => return Err(AuthError::BadRefreshToken),
                Presented::Inactive => return Err(AuthError::Inactive),
                Presented::Reused => return Err(end_family(on, &holder).await?),
                Presented::Again => family.expires_at,
                Presented::Current => {
                    let ends_at = now + on.refresh_ttl;
                    let (from, to) = (hash.clone(), successor.hash());
                    let client = self.client.clone();
                    let write = on.db.write(move |tx| {
                        Box::pin(async move {
                            store::rotate(tx, session, (&from, &to), &client, ends_at).await
                        })
                    });
                    if !write.await? {
                        // Somebody else exchanged it or ended the session since it was read.
                        continue;
                    }
                    ends_at
                }
            };
            return Ok(issue(on, &holder, &successor, ends_at));
        }
    }
}

/// Ends the session of `holder`, and answers the refusal.
async fn end_family(on: &Auth, holder: &Caller) -> Result<AuthError, AuthError> {
    let (user_id, session): (i64, Uuid) = (holder.id, holder.session);
    let write = on.write_account(user_id, move |tx, account| {
        Box::pin(async move {
            let before = advance(tx, user_id, 0).await?;
            match store::end_session(tx, user_id, session, account.until()).await? {
                Some(until) => {
                    let account = account.because(REUSED);
                    account.end(tx, before, &[(session, until)], None).await
                }
                None => Ok(()),
            }
        })
    });
    match write.await {
        Ok(()) => {
            tracing::warn!(user.id = user_id, session.id = %session, "a refresh token was used twice: its session was ended");
            Ok(AuthError::BadRefreshToken)
        }
        Err(AuthError::NoAccount) => Ok(AuthError::BadRefreshToken),
        Err(error) => Err(error),
    }
}
