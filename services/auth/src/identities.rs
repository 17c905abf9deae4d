//! Finds the account behind a token. A verified token is remembered by its SHA-256 until it
//! expires. Asking again costs a hash and two look-ups, no signature and no database.
//!
//! The account is remembered as it was read. After a rename the memory of changes
//! ([`Revocations`](crate::revocations::Revocations)) has a newer version. So the next request reads
//! the account again and answers the new name. The same check refuses an ended session.

use std::sync::Arc;

use blocks::Caller;
use blocks::identity::{AccessClaims, AssertionClaims, AuthRefusal};
use chrono::{DateTime, Utc};
use http::HeaderValue;
use parking_lot::Mutex;
use quick_cache::sync::Cache;

use crate::revocations::{Remembered, Verdict};
use crate::{AUDIENCE, Auth, store};

/// Most tokens remembered: some 20 MiB. A forgotten one is verified and read again.
const REMEMBERED: usize = 32_768;

type Digest = [u8; 32];

/// The memory of verified tokens.
pub struct Identities(Cache<Digest, Arc<Identity>>);

impl Default for Identities {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED))
    }
}

/// The account behind a token, with the headers that say so.
pub struct Identity {
    /// The account, as services see their caller.
    pub caller: Caller,
    /// Its id, name, address and role as header values.
    pub headers: [HeaderValue; 4],
    seen: Remembered,
    expires: DateTime<Utc>,
    /// The keyring's, from before the token was verified.
    epoch: u64,
    assertion: Mutex<Option<(DateTime<Utc>, HeaderValue)>>,
}

impl Auth {
    /// Finds the account behind `token`.
    ///
    /// # Errors
    /// The reason why the token is refused.
    pub async fn identify(&self, token: &str) -> Result<Arc<Identity>, AuthRefusal> {
        let digest = digest(token);
        let now = self.clock.now();
        let epoch = self.keyring.epoch();
        let known = self.identities.0.get(&digest);
        if let Some(identity) = known.filter(|known| known.epoch == epoch) {
            if identity.expires <= now {
                self.identities.0.remove(&digest);
                return Err(AuthRefusal::Expired);
            }
            match self.revocations.judge(&identity.seen) {
                // Other replicas' changes must be known, too.
                Verdict::Holds if self.replicas.as_ref().is_none_or(|of| of.is_fresh(now)) => {
                    return Ok(identity);
                }
                Verdict::Ended => {
                    self.identities.0.remove(&digest);
                    return Err(AuthRefusal::Revoked);
                }
                Verdict::Holds | Verdict::OutOfDate => {}
            }
        }
        // Boxed, because a future has room for all that it may need, here for a query.
        let identity = Arc::new(Box::pin(self.read_identity(token, now, epoch)).await?);
        self.identities.0.insert(digest, Arc::clone(&identity));
        Ok(identity)
    }

    async fn read_identity(
        &self,
        token: &str,
        now: DateTime<Utc>,
        epoch: u64,
    ) -> Result<Identity, AuthRefusal> {
        let keys = &*self.keyring;
        let claims = AccessClaims::verify(token, keys, &self.issuer, AUDIENCE, now).await?;
        if self.revocations.has_ended(claims.sid) {
            return Err(AuthRefusal::Revoked);
        }
        let read = async { store::session(&mut self.db.read().await?, claims.sid).await };
        let session = read
            .await
            .map_err(|error| AuthRefusal::Unavailable(Box::new(error)))?
            .filter(|session| session.user_id == claims.sub && session.revoked_at.is_none())
            .filter(|session| session.not_before.is_none_or(|time| session.began >= time))
            .ok_or(AuthRefusal::Revoked)?;
        let seen = Remembered {
            user_id: session.user_id,
            version: session.version,
            session: claims.sid,
            began: session.began,
        };
        // The session may have ended during the read.
        if self.revocations.judge(&seen) == Verdict::Ended {
            return Err(AuthRefusal::Revoked);
        }
        let role = session.role();
        let header = |text: &str| {
            HeaderValue::from_str(text).map_err(|error| AuthRefusal::Unavailable(Box::new(error)))
        };
        Ok(Identity {
            headers: [
                HeaderValue::from(session.user_id),
                header(&session.username)?,
                header(&session.email)?,
                HeaderValue::from_static(role.as_str()),
            ],
            caller: Caller {
                id: session.user_id,
                name: session.username.into(),
                email: session.email.into(),
                role,
                session: claims.sid,
            },
            seen,
            expires: DateTime::from_timestamp(claims.exp, 0).ok_or(AuthRefusal::Malformed)?,
            epoch,
            assertion: Mutex::default(),
        })
    }

    /// The signed assertion about `identity`, reused for half a minute.
    pub(crate) fn assertion(&self, identity: &Identity) -> HeaderValue {
        let now = self.clock.now();
        let mut kept = identity.assertion.lock();
        if let Some((made, value)) = &*kept
            && now - *made < AssertionClaims::FRESH
        {
            return value.clone();
        }
        let claims = AssertionClaims::of(&identity.caller, &self.issuer, now);
        let value = HeaderValue::from_str(&claims.sign(&self.keyring.signing()))
            .expect("a compact token is base64url and dots");
        *kept = Some((now, value.clone()));
        value
    }
}

fn digest(token: &str) -> Digest {
    let hash = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
    hash.as_ref().try_into().expect("SHA-256 has 32 bytes")
}
