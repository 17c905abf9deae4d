//! The keys that sign tokens. They are stored encrypted under `SECRET_KEY`. The latest whose time has come signs; all
//! that are not retired verify and are in the JWKS.
//!
//! ```text
//! rotate ─ published ── grace ──▶ signs ── the next one signs, its tokens expire ──▶ retired
//! ```
//!
//! In a fleet the grace is longer than verifiers remember a JWKS; in one process there is none.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use blocks::Clock;
use blocks::error::BoxError;
use blocks::identity::{Jwk, KeySource, SigningKey, VerifyingKey};
use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::RwLock;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Prk, Salt};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use sql::Db;

use crate::error::OpenError;
use crate::store::{self, StoredKey};

const LEAST_SECRET_BYTES: usize = 16;
/// The greatest difference between the clocks of two replicas.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::minutes(1);

/// The keys in force.
pub struct Keyring {
    seal: Seal,
    clock: Arc<dyn Clock>,
    token_ttl: TimeDelta,
    kept: RwLock<Arc<[Key]>>,
    /// One reads at a time, so that no older reading comes last.
    reloads: tokio::sync::Mutex<()>,
    /// Counts the times when a key was retired before its tokens had expired.
    epoch: AtomicU64,
}

struct Key {
    signing: Arc<SigningKey>,
    verifying: Arc<VerifyingKey>,
    signs_from: DateTime<Utc>,
    retires_at: Option<DateTime<Utc>>,
}

impl Key {
    fn is_published(&self, now: DateTime<Utc>) -> bool {
        self.retires_at.is_none_or(|time| now < time)
    }

    fn kid(&self) -> &str {
        &self.signing.public().kid
    }
}

/// What a key is for at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyUse {
    /// It is published, and will sign.
    Waits,
    /// It signs.
    Signs,
    /// It verifies what it signed.
    Verifies,
    /// It is not published any more.
    Retired,
}

/// A key as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyState {
    pub kid: String,
    pub generation: i64,
    /// Its use now.
    pub state: KeyUse,
    /// Since when the JWKS has it.
    pub published_at: DateTime<Utc>,
    pub signs_from: DateTime<Utc>,
    /// Until when the JWKS has it; `None` for the last one.
    pub retires_at: Option<DateTime<Utc>>,
}

impl Keyring {
    /// Reads the stored keys, and with `makes` a first one if there is none that will sign.
    ///
    /// # Errors
    /// When `secret_key` is weak or not the one that the keys were stored with.
    pub async fn open(
        db: &Db,
        secret_key: &str,
        token_ttl: TimeDelta,
        makes: bool,
    ) -> Result<Self, OpenError> {
        let ring = Self {
            seal: Seal::of(secret_key, SIGNING_KEYS)?,
            clock: Arc::clone(&db.settings().clock),
            token_ttl,
            kept: RwLock::new(Arc::new([])),
            reloads: tokio::sync::Mutex::default(),
            epoch: AtomicU64::new(0),
        };
        let stored = store::signing_keys(&mut db.read().await?).await?;
        let now = ring.clock.now();
        // Another process, whose clock may be ahead, may have made one just now.
        let signs =
            |key: &StoredKey| key.retired_at.is_none() && key.signs_from <= now + CLOCKS_DIFFER;
        if makes && !stored.iter().any(signs) {
            let key = ring.make(&stored, now, now)?;
            // Where another process is first, its key counts.
            db.write(move |tx| Box::pin(async move { store::add_signing_key(tx, &key).await }))
                .await?;
        }
        ring.reload(db).await?;
        // Where nobody's time has come, the first one signs before it.
        let soonest = ring.kept.read().first().map(|key| key.signs_from);
        if soonest.is_none_or(|time| time > now + CLOCKS_DIFFER) {
            return Err(OpenError::NoSigningKey);
        }
        Ok(ring)
    }

    /// Makes a key that follows `stored`.
    pub fn make(
        &self,
        stored: &[StoredKey],
        published_at: DateTime<Utc>,
        signs_from: DateTime<Utc>,
    ) -> Result<StoredKey, OpenError> {
        let key = SigningKey::generate()?;
        let kid = key.public().kid.clone();
        let last = stored.iter().map(|key| key.generation).max();
        Ok(StoredKey {
            sealed: self.seal.close(&kid, key.seed())?,
            kid,
            generation: 1 + last.unwrap_or_default(),
            published_at,
            signs_from,
            retired_at: None,
        })
    }

    /// Reads the stored keys again.
    ///
    /// # Errors
    /// When they can't be read; those from before stay in force.
    pub async fn reload(&self, db: &Db) -> Result<(), OpenError> {
        let _alone = self.reloads.lock().await;
        let stored = store::signing_keys(&mut db.read().await?).await?;
        let now = self.clock.now();
        let kept = Arc::clone(&self.kept.read());
        let mut keys = Vec::with_capacity(stored.len());
        for (row, retires_at) in stored.iter().zip(self.retirements(&stored)) {
            if row.retired_at.is_some() || retires_at.is_some_and(|time| time <= now) {
                continue;
            }
            let known = kept.iter().find(|key| key.kid() == row.kid);
            let (signing, verifying) = if let Some(key) = known {
                (Arc::clone(&key.signing), Arc::clone(&key.verifying))
            } else {
                let seed = self.seal.open(&row.kid, row.sealed.clone());
                let key = SigningKey::from_seed(&seed.ok_or(OpenError::WrongSecretKey)?)?;
                let verifying = VerifyingKey::try_from(key.public())?;
                (Arc::new(key), Arc::new(verifying))
            };
            keys.push(Key {
                signing,
                verifying,
                signs_from: row.signs_from,
                retires_at,
            });
        }
        if keys.is_empty() {
            return Err(OpenError::NoSigningKey);
        }
        let is_lost =
            |key: &Key| key.is_published(now) && !keys.iter().any(|of| of.kid() == key.kid());
        let retired = kept.iter().any(is_lost);
        *self.kept.write() = keys.into();
        if retired {
            self.epoch.fetch_add(1, Ordering::Release);
        }
        Ok(())
    }

    /// When each of `stored` leaves the JWKS: once what it signed has expired, whoever's clock counts.
    fn retirements(&self, stored: &[StoredKey]) -> impl Iterator<Item = Option<DateTime<Utc>>> {
        let next = |index: usize| {
            let mut after = stored[index + 1..].iter();
            let next = after.find(|key| key.retired_at.is_none());
            next.map(|next| next.signs_from + self.token_ttl + CLOCKS_DIFFER)
        };
        (0..stored.len()).map(move |index| stored[index].retired_at.or_else(|| next(index)))
    }

    /// The stored keys as they are now.
    pub fn states(&self, stored: Vec<StoredKey>) -> Vec<KeyState> {
        let now = self.clock.now();
        let retirements: Vec<_> = self.retirements(&stored).collect();
        let signs = self.signing().public().kid.clone();
        let keys = stored.into_iter().zip(retirements);
        let state = |(key, retires_at): (StoredKey, Option<DateTime<Utc>>)| KeyState {
            state: match retires_at {
                Some(time) if time <= now => KeyUse::Retired,
                _ if key.kid == signs => KeyUse::Signs,
                _ if key.signs_from > now => KeyUse::Waits,
                _ => KeyUse::Verifies,
            },
            kid: key.kid,
            generation: key.generation,
            published_at: key.published_at,
            signs_from: key.signs_from,
            retires_at,
        };
        keys.map(state).collect()
    }

    /// The key that signs.
    pub fn signing(&self) -> Arc<SigningKey> {
        let now = self.clock.now();
        let kept = self.kept.read();
        let due = kept.iter().rev().find(|key| key.signs_from <= now);
        let key = due
            .or(kept.first())
            .expect("there is one: no reading without any is taken");
        Arc::clone(&key.signing)
    }

    /// All public keys that are not retired.
    pub fn published(&self) -> Vec<Jwk> {
        let now = self.clock.now();
        let kept = self.kept.read();
        let published = kept.iter().filter(|key| key.is_published(now));
        published.map(|key| key.signing.public().clone()).collect()
    }

    /// Another number once tokens that were good are no longer: what was verified before must be verified again.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }
}

#[async_trait]
impl KeySource for Keyring {
    async fn key(&self, kid: &str) -> Result<Option<Arc<VerifyingKey>>, BoxError> {
        let now = self.clock.now();
        let kept = self.kept.read();
        let found = kept
            .iter()
            .find(|key| key.kid() == kid && key.is_published(now));
        Ok(found.map(|key| Arc::clone(&key.verifying)))
    }
}

/// Checks that a secret key is long enough.
pub(crate) fn check(secret_key: &str) -> Result<(), OpenError> {
    Seal::of(secret_key, SIGNING_KEYS).map(drop)
}

/// The key of `SECRET_KEY` for one purpose.
pub(crate) fn hmac_key(secret_key: &str, purpose: &[u8]) -> hmac::Key {
    let (secret, purpose) = (extract(secret_key), [purpose]);
    let key = secret.expand(&purpose, hmac::HMAC_SHA256);
    key.expect("32 bytes are within what HKDF gives").into()
}

fn extract(secret_key: &str) -> Prk {
    Salt::new(HKDF_SHA256, b"rookery auth").extract(secret_key.as_bytes())
}

/// What the stored keys are encrypted for.
const SIGNING_KEYS: &[u8] = b"signing keys";

/// Encrypts keys for the database, and what browsers keep for us.
pub(crate) struct Seal(LessSafeKey);

impl Seal {
    /// A seal by a key for one `purpose` alone.
    pub(crate) fn of(secret_key: &str, purpose: &[u8]) -> Result<Self, OpenError> {
        if secret_key.len() < LEAST_SECRET_BYTES {
            return Err(OpenError::WeakSecretKey {
                least: LEAST_SECRET_BYTES,
            });
        }
        let secret = extract(secret_key);
        let info = [purpose];
        let key = secret
            .expand(&info, &CHACHA20_POLY1305)
            .expect("32 bytes are within what HKDF gives");
        Ok(Self(LessSafeKey::new(UnboundKey::from(key))))
    }

    /// A fresh nonce and the encrypted seed. The key's id is bound to it, so rows can't be swapped.
    pub(crate) fn close(&self, kid: &str, seed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new()
            .fill(&mut nonce)
            .map_err(|_| blocks::identity::KeyError::Random)?;
        let mut body = seed.to_vec();
        self.0
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(kid.as_bytes()),
                &mut body,
            )
            .expect("it is far shorter than what can be sealed");
        Ok([nonce.as_slice(), &body].concat())
    }

    /// What was sealed with this id by this key.
    pub(crate) fn open(&self, kid: &str, mut sealed: Vec<u8>) -> Option<Vec<u8>> {
        let (nonce, body) = sealed.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let seed = self
            .0
            .open_in_place(nonce, Aad::from(kid.as_bytes()), body)
            .ok()?;
        Some(seed.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_secret_and_the_same_key_id_open_what_was_sealed() {
        let seal = Seal::of("a secret of the operator", SIGNING_KEYS).unwrap();
        let sealed = seal.close("k1", &[7; 32]).unwrap();
        assert!(!sealed.windows(4).any(|bytes| bytes == [7; 4]));
        assert_ne!(
            seal.close("k1", &[7; 32]).unwrap(),
            sealed,
            "a nonce is used once"
        );
        assert_eq!(seal.open("k1", sealed.clone()).unwrap(), [7; 32]);
        assert!(seal.open("k2", sealed.clone()).is_none());
        let other = Seal::of("another secret of the operator", SIGNING_KEYS).unwrap();
        assert!(other.open("k1", sealed.clone()).is_none());
        for cut in [0, 5, NONCE_LEN, sealed.len() - 1] {
            assert!(seal.open("k1", sealed[..cut].to_vec()).is_none());
        }
        assert!(matches!(
            Seal::of("short", SIGNING_KEYS),
            Err(OpenError::WeakSecretKey { .. })
        ));
    }
}
