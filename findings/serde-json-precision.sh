#!/usr/bin/env bash
# A feature of serde_json that any dependency may switch on makes numbers unreadable in types that never asked for it.
# Expected: cargo features only add; code that compiled and worked does so with one more feature.
# Seen (serde_json 1.0.154, arbitrary_precision): numbers in an untagged enum, in an enum tagged by a field and in a
#   flattened struct fail with "invalid type: map". 1.50 is no longer equal to 1.5. Plain structs go on working.
# Why it matters: features are united over the whole build. A new dependency of another service in the workspace makes
#   valid requests fail at run time, in one kind of build only.
# What we do: types of the contract are plain structs. When such errors appear, the feature is looked for by
#   cargo tree -e features -i serde_json.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cat >main.rs <<'RUST'
#![expect(dead_code, reason = "what is read is not used")]
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(f64),
    Text(String),
}

#[derive(Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    Price { amount: f64 },
}

#[derive(Deserialize)]
struct Inner {
    amount: f64,
}

#[derive(Deserialize)]
struct Flattened {
    #[serde(flatten)]
    inner: Inner,
}

fn show<'a, T: Deserialize<'a>>(shape: &str, json: &'a str) {
    println!("{shape}: {}", serde_json::from_str::<T>(json).map_or_else(|error| error.to_string(), |_| "read".to_owned()));
}

fn main() {
    show::<Inner>("plain", r#"{"amount":1.5}"#);
    show::<Untagged>("untagged", "1.5");
    show::<Tagged>("tagged", r#"{"kind":"Price","amount":1.5}"#);
    show::<Flattened>("flattened", r#"{"amount":1.5}"#);
    let value = |json| serde_json::from_str::<serde_json::Value>(json).unwrap();
    println!("1.50 == 1.5: {}", value("1.50") == value("1.5"));
}
RUST
serde='serde = { version = "=1.0.229", features = ["derive"] }'
cargo_build without "$serde
serde_json = \"=1.0.154\"" <main.rs
cargo_build with "$serde
serde_json = { version = \"=1.0.154\", features = [\"arbitrary_precision\"] }" <main.rs
both() {
  echo "without" && ./without
  echo "with arbitrary_precision" && ./with
}
compare both <<'TEXT'
without
plain: read
untagged: read
tagged: read
flattened: read
1.50 == 1.5: true
with arbitrary_precision
plain: read
untagged: data did not match any variant of untagged enum Untagged
tagged: invalid type: map, expected f64
flattened: invalid type: map, expected f64 at line 1 column 14
1.50 == 1.5: false
TEXT
as_found
