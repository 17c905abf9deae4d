#!/usr/bin/env bash
# chrono takes second 60 of any minute, keeps it, and writes it where nobody can read it.
# Expected: "2026-01-01T12:00:60Z", which was no leap second, is refused, or becomes 12:01:00.
# Seen (chrono 0.4.45 with serde): it is taken, and written again as 12:00:60. JavaScript reads that as Invalid Date,
#   Python's fromisoformat raises, PostgreSQL stores 12:01:00. In Rust, timestamp() says 12:00:59 and
#   timestamp_millis() says 12:01:00.
# Why it matters: one client sends it, the answer is 201, and from then on every client that lists the item shows a
#   broken date. With a database between, the answer to the POST and to the GET differ.
# What we do: where an endpoint takes a time, second 60 is refused, or made whole by way of the milliseconds before
#   anything is kept or shown.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

pip_install pgserver==0.1.4
need node
cargo_build leap 'chrono = { version = "=0.4.45", default-features = false, features = ["serde", "std"] }
serde_json = "1"' <<'RUST'
use chrono::{DateTime, Utc};

fn main() {
    let leap: DateTime<Utc> = serde_json::from_str("\"2026-01-01T12:00:60Z\"").unwrap();
    println!("chrono writes {}", serde_json::to_string(&leap).unwrap());
    println!("timestamp(): {}", DateTime::from_timestamp_secs(leap.timestamp()).unwrap());
    println!("timestamp_millis(): {}", DateTime::from_timestamp_millis(leap.timestamp_millis()).unwrap());
}
RUST
cat >read.py <<'PYTHON'
import datetime, tempfile, pgserver
text = "2026-01-01T12:00:60Z"
try:
    print("Python:", datetime.datetime.fromisoformat(text))
except ValueError as error:
    print("Python:", error)
server = pgserver.get_server(tempfile.mkdtemp(dir="."))
print("PostgreSQL:", server.psql(f"set timezone to 'UTC'; select '{text}'::timestamptz").split("\n")[3].strip())
server.cleanup()
PYTHON
readers() {
  ./leap
  node -e 'console.log("JavaScript:", String(new Date("2026-01-01T12:00:60Z")))'
  "$python" read.py
}
compare readers <<'TEXT'
chrono writes "2026-01-01T12:00:60Z"
timestamp(): 2026-01-01 12:00:59 UTC
timestamp_millis(): 2026-01-01 12:01:00 UTC
JavaScript: Invalid Date
Python: second must be in 0..59
PostgreSQL: 2026-01-01 12:01:00+00
TEXT
as_found
