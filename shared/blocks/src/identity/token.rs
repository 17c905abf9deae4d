//! Access tokens, and the code that both kinds of token share.

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::keys::{KeySource, SigningKey};
use super::refusal::AuthRefusal;
use crate::Role;

/// How far two machines' clocks may be apart.
pub const SKEW: TimeDelta = TimeDelta::seconds(5);

/// Longer than any token of ours; longer ones are not even parsed.
const MAX_BYTES: usize = 4096;
const TYPE: &str = "at+jwt";

/// The claims of an access token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessClaims {
    /// The account.
    #[serde(with = "id_as_text")]
    pub sub: i64,
    /// Its name when the token was made.
    pub name: String,
    /// Its e-mail address when the token was made.
    pub email: String,
    /// Its role when the token was made.
    pub role: Role,
    /// The session, which can be revoked.
    pub sid: Uuid,
    /// The issuer.
    pub iss: String,
    /// The audience.
    pub aud: String,
    /// Time of issue, in seconds since 1970.
    pub iat: i64,
    /// From when on it holds, where that is later than `iat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// Until when, in seconds since 1970.
    pub exp: i64,
    /// The token's own id.
    pub jti: Uuid,
}

impl AccessClaims {
    /// Signs the claims with `key`.
    pub fn sign(&self, key: &SigningKey) -> String {
        key.sign(TYPE, self)
    }

    /// Reads a token that `issuer` made for `audience` and that holds at `now`.
    ///
    /// # Errors
    /// Why it is not believed.
    pub async fn verify(
        token: &str,
        keys: &dyn KeySource,
        issuer: &str,
        audience: &str,
        now: DateTime<Utc>,
    ) -> Result<Self, AuthRefusal> {
        let expected = Expected {
            typ: TYPE,
            issuer,
            audience,
        };
        verify::<Self>(token, keys, &expected, now).await
    }
}

impl Timed for AccessClaims {
    fn starts(&self) -> i64 {
        self.nbf.map_or(self.iat, |nbf| nbf.max(self.iat))
    }
    fn ends(&self) -> i64 {
        self.exp
    }
}

/// Claims that hold for a time; in seconds since 1970.
pub(super) trait Timed {
    fn starts(&self) -> i64;
    fn ends(&self) -> i64;
}

/// The properties that a token must have.
pub(super) struct Expected<'a> {
    pub typ: &'static str,
    pub issuer: &'a str,
    pub audience: &'a str,
}

pub(super) async fn verify<C: DeserializeOwned + Timed>(
    token: &str,
    keys: &dyn KeySource,
    expected: &Expected<'_>,
    now: DateTime<Utc>,
) -> Result<C, AuthRefusal> {
    if token.len() > MAX_BYTES {
        return Err(AuthRefusal::Malformed);
    }
    // `none` and whatever else the library has no name for already fails here.
    let header = jsonwebtoken::decode_header(token).map_err(|_| AuthRefusal::Malformed)?;
    if header.alg != Algorithm::EdDSA {
        return Err(AuthRefusal::Algorithm);
    }
    if header.typ.as_deref() != Some(expected.typ) {
        return Err(AuthRefusal::Malformed);
    }
    let kid = header.kid.ok_or(AuthRefusal::UnknownKey)?;
    let key = keys.key(&kid).await.map_err(AuthRefusal::Unavailable)?;
    let key = key.ok_or(AuthRefusal::UnknownKey)?;

    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_required_spec_claims(&["exp", "sub", "iss", "aud"]);
    validation.set_issuer(&[expected.issuer]);
    validation.set_audience(&[expected.audience]);
    // The library would ask the machine's clock; time is judged below, by ours.
    validation.validate_exp = false;
    let claims = jsonwebtoken::decode::<C>(token, &key.0, &validation)
        .map_err(refusal)?
        .claims;

    if claims.ends() <= now.timestamp() {
        return Err(AuthRefusal::Expired);
    }
    if claims.starts() > (now + SKEW).timestamp() {
        return Err(AuthRefusal::NotYetValid);
    }
    Ok(claims)
}

fn refusal(error: jsonwebtoken::errors::Error) -> AuthRefusal {
    match error.into_kind() {
        ErrorKind::InvalidSignature => AuthRefusal::Signature,
        ErrorKind::InvalidIssuer => AuthRefusal::Issuer,
        ErrorKind::InvalidAudience => AuthRefusal::Audience,
        ErrorKind::InvalidAlgorithm => AuthRefusal::Algorithm,
        _ => AuthRefusal::Malformed,
    }
}

/// RFC 7519 wants `sub` as a string.
pub(super) mod id_as_text {
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde calls it with a reference"
    )]
    pub fn serialize<S: Serializer>(id: &i64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
