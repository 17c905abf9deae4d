//! `X-Identity`: what the gateway tells a service about the caller, in a form only auth can make.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::keys::{KeySource, SigningKey};
use super::refusal::AuthRefusal;
use super::token::{Expected, Timed, id_as_text, verify};
use crate::{Caller, Clock, Role};

const TYPE: &str = "identity+jwt";
const AUDIENCE: &str = "services";
/// Verified assertions kept: one a caller and half a minute. A forgotten one is verified again.
const REMEMBERED: usize = 8192;

/// The claims of an assertion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssertionClaims {
    /// The account.
    #[serde(with = "id_as_text")]
    pub sub: i64,
    /// The account's name.
    pub name: String,
    /// The account's role.
    pub role: Role,
    /// The session.
    pub sid: Uuid,
    /// The issuer.
    pub iss: String,
    /// The audience: `services`.
    pub aud: String,
    /// Time of issue, in seconds since 1970.
    pub iat: i64,
    /// Until when, in seconds since 1970.
    pub exp: i64,
}

impl AssertionClaims {
    /// Lifetime of an assertion.
    pub const TTL: TimeDelta = TimeDelta::seconds(60);
    /// Time for which one is given out before the next is made.
    pub const FRESH: TimeDelta = TimeDelta::seconds(30);

    /// The claims of `issuer` about `caller` at `now`.
    pub fn of(caller: &Caller, issuer: &str, now: DateTime<Utc>) -> Self {
        Self {
            sub: caller.id,
            name: caller.name.to_string(),
            role: caller.role,
            sid: caller.session,
            iss: issuer.to_owned(),
            aud: AUDIENCE.to_owned(),
            iat: now.timestamp(),
            exp: (now + Self::TTL).timestamp(),
        }
    }

    /// Signs the claims with `key`.
    pub fn sign(&self, key: &SigningKey) -> String {
        key.sign(TYPE, self)
    }
}

impl Timed for AssertionClaims {
    fn starts(&self) -> i64 {
        self.iat
    }
    fn ends(&self) -> i64 {
        self.exp
    }
}

/// Reads assertions. A verified one is believed until it expires, without checking its signature again.
pub struct AssertionVerifier {
    keys: Arc<dyn KeySource>,
    issuer: String,
    clock: Arc<dyn Clock>,
    verified: Cache<Box<str>, (Caller, i64)>,
}

impl AssertionVerifier {
    /// Believes assertions of `issuer` that are signed with one of `keys`.
    pub fn new(keys: Arc<dyn KeySource>, issuer: impl Into<String>, clock: Arc<dyn Clock>) -> Self {
        Self {
            keys,
            issuer: issuer.into(),
            clock,
            verified: Cache::new(REMEMBERED),
        }
    }

    /// The caller that `assertion` speaks of. It carries no e-mail address.
    ///
    /// # Errors
    /// Why it is not believed.
    pub async fn verify(&self, assertion: &str) -> Result<Caller, AuthRefusal> {
        let now = self.clock.now();
        if let Some((caller, ends)) = self.verified.get(assertion) {
            if ends > now.timestamp() {
                return Ok(caller);
            }
            self.verified.remove(assertion);
            return Err(AuthRefusal::Expired);
        }
        let expected = Expected {
            typ: TYPE,
            issuer: &self.issuer,
            audience: AUDIENCE,
        };
        let claims: AssertionClaims = verify(assertion, &*self.keys, &expected, now).await?;
        let caller = Caller {
            id: claims.sub,
            name: claims.name.into(),
            email: "".into(),
            role: claims.role,
            session: claims.sid,
        };
        self.verified
            .insert(assertion.into(), (caller.clone(), claims.exp));
        Ok(caller)
    }
}
