mod headers;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::{Caller, Clock, ManualClock, Role};

const ISSUER: &str = "rookery";
const AUDIENCE: &str = "api";

struct World {
    clock: Arc<ManualClock>,
    key: SigningKey,
    keys: Arc<KeySet>,
}

impl World {
    fn new() -> Self {
        let key = SigningKey::generate().unwrap();
        let keys = Arc::new(KeySet::read([key.public()]).unwrap());
        Self {
            clock: Arc::default(),
            key,
            keys,
        }
    }

    fn claims(&self) -> AccessClaims {
        let now = self.clock.now().timestamp();
        AccessClaims {
            sub: 7,
            name: "ada".into(),
            email: "ada@example.org".into(),
            role: Role::User,
            sid: Uuid::from_u128(1),
            iss: ISSUER.into(),
            aud: AUDIENCE.into(),
            iat: now,
            nbf: None,
            exp: now + 60,
            jti: Uuid::from_u128(2),
        }
    }

    async fn verify(&self, token: &str) -> Result<AccessClaims, AuthRefusal> {
        AccessClaims::verify(token, &*self.keys, ISSUER, AUDIENCE, self.clock.now()).await
    }

    fn caller() -> Caller {
        Caller {
            id: 7,
            name: "ada".into(),
            email: "ada@example.org".into(),
            role: Role::User,
            session: Uuid::from_u128(1),
        }
    }

    fn assertion(&self) -> String {
        AssertionClaims::of(&Self::caller(), ISSUER, self.clock.now()).sign(&self.key)
    }

    fn verifier(&self) -> Arc<AssertionVerifier> {
        Arc::new(AssertionVerifier::new(
            self.keys.clone(),
            ISSUER,
            self.clock.clone(),
        ))
    }
}

/// The parts of a token, as JSON.
fn part(token: &str, index: usize) -> Value {
    let encoded = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(encoded).unwrap()).unwrap()
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn with_header(token: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut header = part(token, 0);
    change(&mut header);
    let rest = token.split_once('.').unwrap().1;
    format!("{}.{rest}", encode(&header))
}

#[tokio::test]
async fn a_token_says_what_was_signed_until_it_expires() {
    let world = World::new();
    let token = world.claims().sign(&world.key);
    assert_eq!(world.verify(&token).await.unwrap(), world.claims());
    assert_eq!(part(&token, 0)["kid"], world.key.public().kid);
    assert_eq!(part(&token, 0)["alg"], "EdDSA");
    assert_eq!(part(&token, 1)["sub"], "7", "RFC 7519: sub is a string");

    world.clock.advance(TimeDelta::seconds(59));
    assert!(world.verify(&token).await.is_ok());
    world.clock.advance(TimeDelta::seconds(1));
    assert!(matches!(
        world.verify(&token).await,
        Err(AuthRefusal::Expired)
    ));
}

#[tokio::test]
async fn a_token_before_its_time_is_refused_but_clocks_may_differ_a_little() {
    let world = World::new();
    let mut claims = world.claims();
    claims.nbf = Some(claims.iat + 30);
    let later = claims.sign(&world.key);
    assert!(matches!(
        world.verify(&later).await,
        Err(AuthRefusal::NotYetValid)
    ));

    let mut claims = world.claims();
    claims.iat += SKEW.num_seconds();
    assert!(world.verify(&claims.sign(&world.key)).await.is_ok());
    claims.iat += 1;
    let ahead = claims.sign(&world.key);
    assert!(matches!(
        world.verify(&ahead).await,
        Err(AuthRefusal::NotYetValid)
    ));
}

#[tokio::test]
async fn alg_none_is_refused_in_every_spelling() {
    let world = World::new();
    let token = world.claims().sign(&world.key);
    let signed = token.rsplit_once('.').unwrap().0;
    for none in ["none", "None", "NONE", "nOnE", "", "HS256 "] {
        let forged = with_header(&token, |header| header["alg"] = json!(none));
        let message = forged.rsplit_once('.').unwrap().0;
        for attempt in [format!("{message}."), message.to_owned(), forged.clone()] {
            assert!(
                matches!(world.verify(&attempt).await, Err(AuthRefusal::Malformed)),
                "{none}"
            );
        }
    }
    assert!(
        world.verify(&format!("{signed}.")).await.is_err(),
        "no signature at all"
    );
}

#[tokio::test]
async fn hs256_with_the_public_key_as_its_secret_is_refused() {
    let world = World::new();
    let token = world.claims().sign(&world.key);
    let public = URL_SAFE_NO_PAD.decode(&world.key.public().x).unwrap();
    for secret in [&public[..], world.key.public().x.as_bytes()] {
        for (name, algorithm) in [
            ("HS256", ring::hmac::HMAC_SHA256),
            ("HS512", ring::hmac::HMAC_SHA512),
        ] {
            let forged = with_header(&token, |header| header["alg"] = json!(name));
            let message = forged.rsplit_once('.').unwrap().0;
            let tag =
                ring::hmac::sign(&ring::hmac::Key::new(algorithm, secret), message.as_bytes());
            let forged = format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag));
            assert!(matches!(
                world.verify(&forged).await,
                Err(AuthRefusal::Algorithm)
            ));
        }
    }
}

#[tokio::test]
async fn foreign_keys_issuers_audiences_and_kinds_are_refused() {
    let world = World::new();
    let foreign = SigningKey::generate().unwrap();
    let token = world.claims().sign(&foreign);
    assert!(matches!(
        world.verify(&token).await,
        Err(AuthRefusal::UnknownKey)
    ));
    // The right key id does not make it the right key.
    let kid = world.key.public().kid.clone();
    let mut public = foreign.public().clone();
    public.kid.clone_from(&kid);
    let renamed = with_header(&token, |header| header["kid"] = json!(kid));
    assert!(matches!(
        world.verify(&renamed).await,
        Err(AuthRefusal::Signature)
    ));

    let token = world.claims().sign(&world.key);
    let unnamed = with_header(&token, |header| {
        header.as_object_mut().unwrap().remove("kid");
    });
    assert!(matches!(
        world.verify(&unnamed).await,
        Err(AuthRefusal::UnknownKey)
    ));
    // A key that the token brings along is not looked at.
    let own = with_header(&world.claims().sign(&foreign), |header| {
        header["jwk"] = json!({"kty": "OKP", "crv": "Ed25519", "x": foreign.public().x});
    });
    assert!(matches!(
        world.verify(&own).await,
        Err(AuthRefusal::UnknownKey)
    ));

    let mut claims = world.claims();
    claims.iss = "somebody".into();
    let token = claims.sign(&world.key);
    assert!(matches!(
        world.verify(&token).await,
        Err(AuthRefusal::Issuer)
    ));
    let mut claims = world.claims();
    claims.aud = "elsewhere".into();
    let token = claims.sign(&world.key);
    assert!(matches!(
        world.verify(&token).await,
        Err(AuthRefusal::Audience)
    ));
    assert!(
        world.verify(&world.assertion()).await.is_err(),
        "an assertion is no access token"
    );
    let token = world.claims().sign(&world.key);
    assert!(
        world.verifier().verify(&token).await.is_err(),
        "nor the other way round"
    );
}

#[tokio::test]
async fn a_token_changed_anywhere_is_refused() {
    let world = World::new();
    let token = world.claims().sign(&world.key);
    let mut claims = part(&token, 1);
    claims["role"] = json!("admin");
    let parts: Vec<&str> = token.split('.').collect();
    let promoted = format!("{}.{}.{}", parts[0], encode(&claims), parts[2]);
    assert!(matches!(
        world.verify(&promoted).await,
        Err(AuthRefusal::Signature)
    ));

    for place in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(world.verify(&changed).await.is_err(), "place {place}");
    }
    let long = format!("{token}{}", "A".repeat(5000));
    for text in [
        "",
        ".",
        "..",
        "...",
        "a.b",
        "a.b.c.d",
        "ä.ö.ü",
        &token[1..],
        &long,
    ] {
        assert!(world.verify(text).await.is_err(), "{text}");
    }
    // Claims that are missing or of another type, properly signed.
    let whole = part(&token, 1);
    for name in ["sub", "role", "sid", "iss", "aud", "iat", "exp"] {
        for replacement in [None, Some(json!(null)), Some(json!({})), Some(json!(-1.5))] {
            let mut claims = whole.clone();
            let fields = claims.as_object_mut().unwrap();
            fields.remove(name);
            if let Some(value) = replacement {
                fields.insert(name.to_owned(), value);
            }
            let token = world.key.sign("at+jwt", &claims);
            assert!(world.verify(&token).await.is_err(), "{claims}");
        }
    }
}

#[test]
fn a_key_set_reads_ed25519_keys_only_and_a_seed_gives_the_same_key_again() {
    let key = SigningKey::generate().unwrap();
    assert_eq!(
        SigningKey::from_seed(key.seed()).unwrap().public(),
        key.public()
    );
    assert!(matches!(
        SigningKey::from_seed(&[0; 31]),
        Err(KeyError::Seed(31))
    ));
    assert!(!format!("{key:?}").contains(&URL_SAFE_NO_PAD.encode(key.seed())));
    for (field, value) in [
        ("kty", "RSA"),
        ("crv", "Ed448"),
        ("alg", "HS256"),
        ("x", "AAAA"),
        ("x", "not base64!"),
    ] {
        let mut jwk = serde_json::to_value(key.public()).unwrap();
        jwk[field] = json!(value);
        let jwk: Jwk = serde_json::from_value(jwk).unwrap();
        assert!(KeySet::read([&jwk]).is_err(), "{field}={value}");
    }
}

#[test]
fn the_key_id_is_the_thumbprint_of_rfc_8037() {
    let seed = URL_SAFE_NO_PAD
        .decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
        .unwrap();
    let key = SigningKey::from_seed(&seed).unwrap();
    assert_eq!(
        key.public().x,
        "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    );
    assert_eq!(
        key.public().kid,
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    );
}

#[tokio::test]
async fn an_assertion_is_believed_for_a_minute_also_when_it_is_remembered() {
    let world = World::new();
    let verifier = world.verifier();
    let assertion = world.assertion();
    for _ in 0..2 {
        let caller = verifier.verify(&assertion).await.unwrap();
        assert_eq!((caller.id, &*caller.name, &*caller.email), (7, "ada", ""));
    }
    world.clock.advance(TimeDelta::seconds(60));
    assert!(matches!(
        verifier.verify(&assertion).await,
        Err(AuthRefusal::Expired)
    ));
    assert!(matches!(
        verifier.verify(&assertion).await,
        Err(AuthRefusal::Expired)
    ));
}
