//! The keys that sign tokens. They are stored encrypted under `SECRET_KEY`. One signs; all that are
//! not retired verify and are in the JWKS.

use std::sync::Arc;

use blocks::identity::{Jwk, KeySet, SigningKey};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Prk, Salt};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use sql::Db;

use crate::error::OpenError;
use crate::store;

const LEAST_SECRET_BYTES: usize = 16;

/// The keys in force.
pub struct Keyring {
    signing: SigningKey,
    published: Vec<Jwk>,
    verifying: Arc<KeySet>,
}

impl Keyring {
    /// Reads the stored keys, and with `makes` a first one if there is none that will sign.
    ///
    /// # Errors
    /// When `secret_key` is weak or not the one that the keys were stored with.
    pub async fn open(db: &Db, secret_key: &str, makes: bool) -> Result<Self, OpenError> {
        let seal = Seal::of(secret_key, SIGNING_KEYS)?;
        let clock = &db.settings().clock;
        let mut stored = store::signing_keys(&mut db.read().await?, clock.now()).await?;
        if makes && !stored.iter().any(|key| key.about_to_sign) {
            let key = SigningKey::generate()?;
            let kid = key.public().kid.clone();
            let sealed = seal.close(&kid, key.seed())?;
            let next = 1 + stored
                .iter()
                .map(|key| key.generation)
                .max()
                .unwrap_or_default();
            db.write(move |tx| {
                Box::pin(async move { store::add_signing_key(tx, next, &kid, &sealed).await })
            })
            .await?;
            // Another process may have been first: the stored key counts.
            stored = store::signing_keys(&mut db.read().await?, clock.now()).await?;
        }
        let mut signing = None;
        let mut published = Vec::new();
        for row in stored.into_iter().filter(|key| !key.retired) {
            let seed = seal
                .open(&row.kid, row.sealed)
                .ok_or(OpenError::WrongSecretKey)?;
            let key = SigningKey::from_seed(&seed)?;
            published.push(key.public().clone());
            // The rows are in order. The latest key whose time has come signs, or else the first one
            // about to sign.
            if row.signs || (row.about_to_sign && signing.is_none()) {
                signing = Some(key);
            }
        }
        Ok(Self {
            signing: signing.ok_or(OpenError::NoSigningKey)?,
            verifying: Arc::new(KeySet::read(&published)?),
            published,
        })
    }

    /// The key that signs.
    pub fn signing(&self) -> &SigningKey {
        &self.signing
    }

    /// All public keys that are not retired.
    pub fn published(&self) -> &[Jwk] {
        &self.published
    }

    /// The same keys, for verifying.
    pub fn verifying(&self) -> &Arc<KeySet> {
        &self.verifying
    }
}

/// Checks that a secret key is long enough.
pub(crate) fn check(secret_key: &str) -> Result<(), OpenError> {
    Seal::of(secret_key, SIGNING_KEYS).map(drop)
}

/// The key by which accounts that are tried are counted: no store knows their names.
pub(crate) fn attempts_key(secret_key: &str) -> hmac::Key {
    let secret = extract(secret_key);
    let key = secret.expand(&[b"login attempts"], hmac::HMAC_SHA256);
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
