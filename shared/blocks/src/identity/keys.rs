//! Ed25519 keys: the one that signs, those that verify, and where a verifier finds them.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::{Deserialize, Serialize};

use super::crypto;
use crate::error::BoxError;

const SEED_BYTES: usize = 32;

/// A key that can't be made or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The machine gives no random numbers.
    #[error("the system's random source failed")]
    Random,
    /// The bytes are no Ed25519 seed.
    #[error("a signing key is {SEED_BYTES} bytes, not {0}")]
    Seed(usize),
    /// The public key is none of ours.
    #[error("key {kid} is no Ed25519 key for EdDSA signatures")]
    Public {
        /// Its id.
        kid: String,
    },
}

/// A private key and the id its tokens name.
#[derive(Debug)]
pub struct SigningKey {
    public: Jwk,
    encoding: EncodingKey,
}

impl SigningKey {
    /// Makes a new one.
    ///
    /// # Errors
    /// When the machine gives no random numbers.
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = [0; SEED_BYTES];
        SystemRandom::new()
            .fill(&mut seed)
            .map_err(|_| KeyError::Random)?;
        Self::from_seed(&seed)
    }

    /// Makes the one that `seed` stands for.
    ///
    /// # Errors
    /// When the seed has another length.
    pub fn from_seed(seed: &[u8]) -> Result<Self, KeyError> {
        crypto::install();
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::Seed(seed.len()))?;
        Ok(Self {
            public: Jwk::of(pair.public_key().as_ref()),
            encoding: EncodingKey::from_ed_der(seed),
        })
    }

    /// The private half. It is stored encrypted and goes nowhere else.
    pub fn seed(&self) -> &[u8] {
        self.encoding.as_bytes()
    }

    /// The public half.
    pub fn public(&self) -> &Jwk {
        &self.public
    }

    /// Signs `claims` as a compact token of type `typ`.
    pub(super) fn sign<C: Serialize>(&self, typ: &str, claims: &C) -> String {
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(typ.to_owned());
        header.kid = Some(self.public.kid.clone());
        jsonwebtoken::encode(&header, claims, &self.encoding)
            .expect("the key was proved when it was made, and claims are plain fields")
    }
}

/// A public key as it stands in a JSON Web Key Set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Jwk {
    /// `OKP`.
    pub kty: String,
    /// `Ed25519`.
    pub crv: String,
    /// `sig`.
    #[serde(rename = "use")]
    pub usage: String,
    /// `EdDSA`.
    pub alg: String,
    /// The key's id: its RFC 7638 thumbprint.
    pub kid: String,
    /// The public key, base64url.
    pub x: String,
}

impl Jwk {
    fn of(public: &[u8]) -> Self {
        let x = URL_SAFE_NO_PAD.encode(public);
        // RFC 7638: the required members in this order, without white space.
        let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let thumbprint = ring::digest::digest(&ring::digest::SHA256, members.as_bytes());
        Self {
            kty: "OKP".to_owned(),
            crv: "Ed25519".to_owned(),
            usage: "sig".to_owned(),
            alg: "EdDSA".to_owned(),
            kid: URL_SAFE_NO_PAD.encode(thumbprint),
            x,
        }
    }
}

/// A public key, ready to verify.
#[derive(Debug, Clone)]
pub struct VerifyingKey(pub(super) DecodingKey);

impl TryFrom<&Jwk> for VerifyingKey {
    type Error = KeyError;
    fn try_from(jwk: &Jwk) -> Result<Self, KeyError> {
        crypto::install();
        let refused = || KeyError::Public {
            kid: jwk.kid.clone(),
        };
        if jwk.kty != "OKP" || jwk.crv != "Ed25519" || jwk.alg != "EdDSA" {
            return Err(refused());
        }
        let public = URL_SAFE_NO_PAD.decode(&jwk.x).map_err(|_| refused())?;
        if public.len() != SEED_BYTES {
            return Err(refused());
        }
        Ok(Self(DecodingKey::from_ed_der(&public)))
    }
}

/// The source of the keys that tokens name. In process it is auth's own [`KeySet`]; a service of its own
/// asks auth's JWKS endpoint and remembers the answer.
#[async_trait]
pub trait KeySource: Send + Sync + 'static {
    /// The key with this id; `None` when there is no such key (any more).
    ///
    /// # Errors
    /// When the source can't be asked: whether the key exists is then unknown.
    async fn key(&self, kid: &str) -> Result<Option<Arc<VerifyingKey>>, BoxError>;
}

/// A set of public keys that is known from the start.
#[derive(Debug, Clone, Default)]
pub struct KeySet(HashMap<String, Arc<VerifyingKey>>);

impl KeySet {
    /// Reads the keys of a JWKS.
    ///
    /// # Errors
    /// When one of them is no Ed25519 key.
    pub fn read<'a>(keys: impl IntoIterator<Item = &'a Jwk>) -> Result<Self, KeyError> {
        keys.into_iter()
            .map(|jwk| Ok((jwk.kid.clone(), Arc::new(VerifyingKey::try_from(jwk)?))))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

#[async_trait]
impl KeySource for KeySet {
    async fn key(&self, kid: &str) -> Result<Option<Arc<VerifyingKey>>, BoxError> {
        Ok(self.0.get(kid).cloned())
    }
}
