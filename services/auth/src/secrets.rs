//! Secrets that auth gives away: how they come about, and what is stored of them.

use blocks::identity::KeyError;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

/// The length of a secret.
pub(crate) const BYTES: usize = 32;

/// A new one.
///
/// # Errors
/// When the system gives no random bytes.
pub(crate) fn random() -> Result<[u8; BYTES], KeyError> {
    let mut bytes = [0; BYTES];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| KeyError::Random)?;
    Ok(bytes)
}

/// What is stored of it. It is as random as a key, so a quick hash does.
pub(crate) fn hash(secret: impl AsRef<[u8]>) -> Vec<u8> {
    digest(&SHA256, secret.as_ref()).as_ref().to_vec()
}
