#!/usr/bin/env bash
# One .env file, four readers, four passwords.
# Expected: docker compose, a Rust service, a Python job and a Node script read the same .env alike.
# Seen: dotenvy (Rust) and compose-go (docker compose) take $word in an unquoted value for a variable and drop it;
#   python-dotenv and dotenv (JavaScript) keep it. dotenv ends a value at a # inside a word, dotenvy makes \n a line
#   break, the others do neither. Single quotes mean the same to all.
# Why it matters: a generated password with $ or # logs in from one process and fails from the next. Or a database
#   is created with a password that is shorter than the one in the file.
# What we do: secrets in .env are letters and digits (openssl rand -hex), or stand in single quotes.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cat >values.env <<'ENV'
DOLLAR=abc$def
HASH=abc#def
BACKSLASH=abc\ndef
QUOTED='abc$d#e\nf'
ENV
pip_install python-dotenv==1.2.4
npm_install dotenv@18.0.10
cargo_build dotenvy-reads 'dotenvy = "=0.15.7"' <<'RUST'
fn main() -> Result<(), dotenvy::Error> {
    for pair in dotenvy::from_path_iter("values.env")? {
        let (name, value) = pair?;
        println!("{name}={value:?}");
    }
    Ok(())
}
RUST
go_build compose-reads github.com/compose-spec/compose-go/v2@v2.16.2 <<'GO'
package main

import (
	"fmt"

	"github.com/compose-spec/compose-go/v2/dotenv"
)

func main() {
	values, err := dotenv.Read("values.env")
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"DOLLAR", "HASH", "BACKSLASH", "QUOTED"} {
		fmt.Printf("%s=%q\n", name, values[name])
	}
}
GO
readers() {
  echo "dotenvy (Rust):" && ./dotenvy-reads
  echo "docker compose:" && ./compose-reads
  echo "python-dotenv:" && "$python" -c 'import dotenv, json
for name, value in dotenv.dotenv_values("values.env").items(): print(name + "=" + json.dumps(value))'
  echo "dotenv (JavaScript):" && node -e 'const values = require("dotenv").parse(require("fs").readFileSync("values.env"))
for (const name in values) console.log(name + "=" + JSON.stringify(values[name]))'
}
compare readers <<'TEXT'
dotenvy (Rust):
DOLLAR="abc"
HASH="abc#def"
BACKSLASH="abc\ndef"
QUOTED="abc$d#e\\nf"
docker compose:
DOLLAR="abc"
HASH="abc#def"
BACKSLASH="abc\\ndef"
QUOTED="abc$d#e\\nf"
python-dotenv:
DOLLAR="abc$def"
HASH="abc#def"
BACKSLASH="abc\\ndef"
QUOTED="abc$d#e\\nf"
dotenv (JavaScript):
DOLLAR="abc$def"
HASH="abc"
BACKSLASH="abc\\ndef"
QUOTED="abc$d#e\\nf"
TEXT
as_found
