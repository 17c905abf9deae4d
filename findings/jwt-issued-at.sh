#!/usr/bin/env bash
# A token from a clock that is ahead is refused by Python's libraries and taken by the others.
# Expected: "iat" says when a token was made, and is no reason to refuse it; RFC 7519 has "nbf" for that.
# Seen: PyJWT 2.15.1 and joserfc 1.8.0 refuse an iat in the future, by default without any leeway. jose 6.2.18
#   (JavaScript) and jsonwebtoken 12.0.0 (Rust) do not look at it.
# Why it matters: clocks of two hosts differ by a second. Who has just logged in gets 401 from the one service that is
#   in Python, now and then, and nothing in the token is wrong.
# What we do: our own services allow for clocks that differ. Whoever checks our tokens in Python has to set a leeway.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

pip_install PyJWT==2.15.1 joserfc==1.8.0 cryptography==46.0.3
npm_install jose@6.2.18
cargo_build jwt-rust 'jsonwebtoken = { version = "=12.0.0", default-features = false, features = ["rust_crypto", "use_pem"] }
serde_json = "1"' <<'RUST'
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};

fn main() {
    let key = DecodingKey::from_ed_pem(&std::fs::read("public.pem").unwrap()).unwrap();
    let token = std::fs::read_to_string("token.txt").unwrap();
    let claims = decode::<serde_json::Value>(&token, &key, &Validation::new(Algorithm::EdDSA));
    println!("jsonwebtoken: {}", claims.map_or_else(|error| error.to_string(), |_| "taken".to_owned()));
}
RUST
cat >make.py <<'PYTHON'
import time, jwt, joserfc.jwk, joserfc.jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
key = Ed25519PrivateKey.generate()
public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
open("public.pem", "wb").write(public)
now = int(time.time())
token = jwt.encode({"sub": "7", "iat": now + 60, "exp": now + 600}, key, "EdDSA")
open("token.txt", "w").write(token)

def tried(name, check):
    try:
        check()
        print(f"{name}: taken")
    except Exception as error:
        print(f"{name}: {error}")

def by_joserfc():
    found = joserfc.jwt.decode(token, joserfc.jwk.OKPKey.import_key(public), algorithms=["EdDSA"])
    joserfc.jwt.JWTClaimsRegistry().validate(found.claims)

tried("PyJWT", lambda: jwt.decode(token, public, algorithms=["EdDSA"]))
tried("joserfc", by_joserfc)
PYTHON
cat >check.mjs <<'JS'
import { readFileSync } from 'node:fs'
import { importSPKI, jwtVerify } from 'jose'
const key = await importSPKI(readFileSync('public.pem', 'utf8'), 'EdDSA')
await jwtVerify(readFileSync('token.txt', 'utf8'), key).then(
  () => console.log('jose: taken'), (error) => console.log(`jose: ${error.message}`))
JS
all() { "$python" make.py && node check.mjs && ./jwt-rust; }
compare all <<'TEXT'
PyJWT: The token is not yet valid (iat)
joserfc: invalid_claim: The token was issued in the future
jose: taken
jsonwebtoken: taken
TEXT
as_found
