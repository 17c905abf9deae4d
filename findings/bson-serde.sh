#!/usr/bin/env bash
# A struct with a UUID becomes bytes by one function of the crate bson and text by the other.
# Expected: serialize_to_vec() and serialize_to_document() of one struct give the same document.
# Seen: serialize_to_vec(), the way of an insert, writes uuid::Uuid as binary data of subtype 0;
#   serialize_to_document(), the way of a filter or an update, as text. chrono's DateTime is text by both, and
#   PyMongo reads neither as the UUID or the date that it is.
# Why it matters: a document that was inserted from a struct is not found by a filter made of the same struct. Text
#   dates do not expire by a TTL index, and other languages see other types. No step fails.
# What we do: documents have types of their own, of text ids and bson::DateTime; types of the domain are never
#   given to the driver.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

pip_install pymongo==4.20.1
cargo_build order 'bson = { version = "=3.1.0", features = ["chrono-0_4", "uuid-1", "serde"] }
chrono = { version = "=0.4.45", default-features = false, features = ["serde"] }
serde = { version = "1", features = ["derive"] }
uuid = { version = "1", features = ["serde"] }' <<'RUST'
use chrono::{DateTime, Utc};
use std::fs::write;

#[derive(serde::Serialize)]
struct Order {
    id: uuid::Uuid,
    at: DateTime<Utc>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let order = Order {
        id: "0190163d-8694-739b-aea5-966c26f8ad91".parse()?,
        at: "2026-01-01T12:00:00.123456Z".parse()?,
    };
    write("to_vec.bson", bson::serialize_to_vec(&order)?)?;
    write("to_document.bson", bson::serialize_to_document(&order)?.to_vec()?)?;
    let by_hand = bson::doc! { "id": bson::Uuid::from(order.id), "at": bson::DateTime::from(order.at) };
    write("by_hand.bson", by_hand.to_vec()?)?;
    Ok(())
}
RUST
cat >read.py <<'PYTHON'
from bson import decode, CodecOptions
from bson.binary import UuidRepresentation
options = CodecOptions(uuid_representation=UuidRepresentation.STANDARD)
for name in ("to_vec", "to_document", "by_hand"):
    order = decode(open(f"{name}.bson", "rb").read(), options)
    print(f"{name}: id is {type(order['id']).__name__}, at is {type(order['at']).__name__}")
PYTHON
quietly "writing the documents" ./order
compare "$python" read.py <<'TEXT'
to_vec: id is bytes, at is str
to_document: id is str, at is str
by_hand: id is UUID, at is datetime
TEXT
as_found
