//! Refresh tokens: how one is made of the one before, and what a presented one means.
//!
//! A token is its session's id, 32 secret bytes, and a tag by auth's key. What auth did not make is refused by the
//! tag, without the database. The first secret of a family is random; each next one is an HMAC of the token before.
//! So the same successor can be answered again, and the database has hashes alone.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use blocks::identity::KeyError;
use chrono::{DateTime, TimeDelta, Utc};
use ring::hmac;
use uuid::Uuid;

use crate::{keyring, secrets};

/// How long a rotated token gets the same successor again, while nobody has used that.
const GRACE: TimeDelta = TimeDelta::seconds(10);
const ID_BYTES: usize = 16;
const BYTES: usize = ID_BYTES + secrets::BYTES;

/// What makes and knows refresh tokens; the same for every replica.
pub(crate) struct RefreshKey {
    tags: hmac::Key,
    successors: hmac::Key,
}

/// A refresh token that auth made.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RefreshToken([u8; BYTES]);

impl RefreshKey {
    pub fn new(secret_key: &str) -> Self {
        Self {
            tags: keyring::hmac_key(secret_key, b"refresh token tags"),
            successors: keyring::hmac_key(secret_key, b"refresh token successors"),
        }
    }

    /// The token that `token` is exchanged for, always the same.
    pub fn successor(&self, token: &RefreshToken) -> RefreshToken {
        let secret = hmac::sign(&self.successors, &token.0);
        RefreshToken::of(token.session(), secret.as_ref())
    }

    /// The token as clients have it.
    pub fn text(&self, token: &RefreshToken) -> String {
        let tag = hmac::sign(&self.tags, &token.0);
        BASE64.encode([token.0.as_slice(), tag.as_ref()].concat())
    }

    /// Reads a token; `None` for what auth did not make.
    pub fn read(&self, text: &str) -> Option<RefreshToken> {
        let bytes = BASE64.decode(text).ok()?;
        let (token, tag) = bytes.split_first_chunk()?;
        hmac::verify(&self.tags, token, tag).ok()?;
        Some(RefreshToken(*token))
    }
}

impl RefreshToken {
    /// The first token of a family.
    ///
    /// # Errors
    /// When the machine gives no random numbers.
    pub fn first(session: Uuid) -> Result<Self, KeyError> {
        Ok(Self::of(session, &secrets::random()?))
    }

    fn of(session: Uuid, secret: &[u8]) -> Self {
        let mut bytes = [0; BYTES];
        bytes[..ID_BYTES].copy_from_slice(session.as_bytes());
        bytes[ID_BYTES..].copy_from_slice(secret);
        Self(bytes)
    }

    /// The session, which is its family.
    pub fn session(&self) -> Uuid {
        let (id, _) = self.0.split_first_chunk().expect("it begins with an id");
        Uuid::from_bytes(*id)
    }

    /// What is stored of it.
    pub fn hash(&self) -> Vec<u8> {
        secrets::hash(self.0)
    }
}

/// A family as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, sqlx_macros::FromRow)]
pub struct Family {
    /// False if nobody can log in to the account.
    pub is_active: bool,
    /// Sessions of the account that began earlier have ended.
    pub not_before: Option<DateTime<Utc>>,
    /// When the session began.
    pub began: DateTime<Utc>,
    /// When the session was ended, if it was.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When its token ends by itself.
    pub expires_at: DateTime<Utc>,
    /// The hash of the token that holds; `None` in a session from before there were any.
    pub refresh_hash: Option<Vec<u8>>,
    /// The hash of the token before.
    pub previous_hash: Option<Vec<u8>>,
    /// When the token before was exchanged.
    pub rotated_at: Option<DateTime<Utc>>,
}

/// What a presented token means for its family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presented {
    /// It holds, and is to be exchanged.
    Current,
    /// It was exchanged just now, and its successor is unused: the answer was lost, or a second tab asks.
    Again,
    /// It was exchanged before: two have it, and one of them may be a thief.
    Reused,
    /// The session is over.
    Ended,
    /// Nobody can log in to the account.
    Inactive,
}

impl Family {
    /// Judges the token with this hash, which auth made for this family.
    pub fn judge(&self, hash: &[u8], now: DateTime<Utc>) -> Presented {
        let is_over = self.revoked_at.is_some()
            || self.expires_at <= now
            || self.not_before.is_some_and(|time| self.began < time);
        let is_recent = self.rotated_at.is_some_and(|time| now - time <= GRACE);
        if !self.is_active {
            Presented::Inactive
        } else if is_over {
            Presented::Ended
        } else if self.refresh_hash.as_deref() == Some(hash) {
            Presented::Current
        } else if is_recent && self.previous_hash.as_deref() == Some(hash) {
            Presented::Again
        } else {
            Presented::Reused
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: Uuid = Uuid::from_u128(7);

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn a_token_has_one_successor_which_is_auths_alone_to_make() {
        let key = RefreshKey::new("a secret key for tests only");
        let first = RefreshToken::first(SESSION).unwrap();
        assert!(
            RefreshToken::first(SESSION).unwrap() != first,
            "it is random"
        );
        let next = key.successor(&first);
        assert!(next == key.successor(&first) && next != first);
        assert_eq!(next.session(), SESSION);
        assert!(key.read(&key.text(&next)).unwrap() == next);
        let other = RefreshKey::new("another secret key for tests");
        assert!(other.successor(&first) != next);
        assert!(other.read(&key.text(&next)).is_none());
        let text = key.text(&next);
        assert!(
            !next
                .hash()
                .windows(8)
                .any(|part| next.0.windows(8).any(|own| own == part))
        );
        for position in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[position] = if changed[position] == b'A' {
                b'B'
            } else {
                b'A'
            };
            let changed = String::from_utf8(changed).unwrap();
            assert!(key.read(&changed).is_none(), "{changed}");
            assert!(key.read(&text[..position]).is_none());
        }
        for garbage in ["", "x", "=", "é", &format!("{text}A"), &format!("{text}=")] {
            assert!(key.read(garbage).is_none(), "{garbage}");
        }
    }

    #[test]
    fn a_token_is_judged_by_its_family() {
        let family = Family {
            is_active: true,
            not_before: None,
            began: at(10),
            revoked_at: None,
            expires_at: at(1000),
            refresh_hash: Some(vec![2]),
            previous_hash: Some(vec![1]),
            rotated_at: Some(at(100)),
        };
        let judged = |hash: u8, seconds| family.judge(&[hash], at(seconds));
        assert_eq!(judged(2, 100), Presented::Current);
        assert_eq!(judged(2, 999), Presented::Current);
        assert_eq!(judged(2, 1000), Presented::Ended);
        assert_eq!(judged(1, 110), Presented::Again);
        assert_eq!(judged(1, 111), Presented::Reused);
        assert_eq!(judged(0, 100), Presented::Reused);
        let ended = |change: fn(&mut Family)| {
            let mut family = family.clone();
            change(&mut family);
            [0, 1, 2].map(|hash| family.judge(&[hash], at(105)))
        };
        assert_eq!(
            ended(|family| family.revoked_at = Some(at(104))),
            [Presented::Ended; 3]
        );
        assert_eq!(
            ended(|family| family.not_before = Some(at(11))),
            [Presented::Ended; 3]
        );
        assert_eq!(
            ended(|family| family.is_active = false),
            [Presented::Inactive; 3]
        );
        let [_, _, current] = ended(|family| family.not_before = Some(at(10)));
        assert_eq!(current, Presented::Current);
    }
}
