#!/usr/bin/env bash
# Three shapes in which serde drops what it was told to refuse.
# Expected: where a type says deny_unknown_fields, a field that it does not know is an error. So is a field that it
#   knows but that has the wrong type.
# Seen (serde 1.0.229): a unit variant of an enum tagged by a field takes any other field. A struct that is
#   flattened into another forgets its own deny_unknown_fields. A flattened Option is None when one of its fields has
#   the wrong type, or is missing, and the rest of its fields are gone.
# Why it matters: an API promises to name every field that it does not take. A typing mistake is 200 and changes
#   nothing, or loses the address that the user typed.
# What we do: requests are flat structs: nothing is flattened into them, and none is a tagged enum.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cargo_build shapes 'serde = { version = "=1.0.229", features = ["derive"] }
serde_json = "=1.0.154"' <<'RUST'
#![expect(dead_code, reason = "fields are only shown")]
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", deny_unknown_fields)]
enum Channel {
    Inbox,
    Email { to: String },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Address {
    city: String,
    zip: String,
}

#[derive(Debug, Deserialize)]
struct Strict {
    name: String,
    #[serde(flatten)]
    address: Address,
}

#[derive(Debug, Deserialize)]
struct Lenient {
    name: String,
    #[serde(flatten)]
    address: Option<Address>,
}

fn show<'a, T: Deserialize<'a> + std::fmt::Debug>(json: &'a str) {
    match serde_json::from_str::<T>(json) {
        Ok(value) => println!("{json} is {value:?}"),
        Err(error) => println!("{json} is refused: {}", error.to_string().split(" at line").next().unwrap()),
    }
}

fn main() {
    show::<Channel>(r#"{"kind":"Email","to":"a","tpo":1}"#);
    show::<Channel>(r#"{"kind":"Inbox","tpo":1}"#);
    show::<Address>(r#"{"city":"Bern","zip":"3000","zpi":1}"#);
    show::<Strict>(r#"{"name":"a","city":"Bern","zip":"3000","zpi":1}"#);
    show::<Lenient>(r#"{"name":"a","city":"Bern","zip":3000}"#);
}
RUST
compare ./shapes <<'TEXT'
{"kind":"Email","to":"a","tpo":1} is refused: unknown field `tpo`, expected `to`
{"kind":"Inbox","tpo":1} is Inbox
{"city":"Bern","zip":"3000","zpi":1} is refused: unknown field `zpi`, expected `city` or `zip`
{"name":"a","city":"Bern","zip":"3000","zpi":1} is Strict { name: "a", address: Address { city: "Bern", zip: "3000" } }
{"name":"a","city":"Bern","zip":3000} is Lenient { name: "a", address: None }
TEXT
as_found
