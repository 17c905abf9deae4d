#!/usr/bin/env bash
# A password that zxcvbn calls strong in the browser is weak to zxcvbn on the server, if it ends with a year.
# Expected: ports of zxcvbn give one password one score, so a form can show what the server will say.
# Seen: with a year from 2020 on, zxcvbn (npm) 4.4.2 and zxcvbn (PyPI) 4.5.0 score 3 where the crate zxcvbn 3.1.1
#   scores 1 or 2. The crate knows such years as years, the others stop at 2019. Without a year all agree.
# Why it matters: the meter is green, the button works, and the server answers that the password is too weak. The
#   next one that the user tries ends with a year as well.
# What we do: if the server ever judges strength, its answer carries the score, and forms show that one.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

pip_install zxcvbn==4.5.0
npm_install zxcvbn@4.4.2
cargo_build strength 'zxcvbn = "=3.1.1"' <<'RUST'
fn main() {
    let scores = std::env::args().skip(1).map(|word| format!("{word}={}", u8::from(zxcvbn::zxcvbn(&word, &[]).score())));
    println!("{}", scores.collect::<Vec<_>>().join(" "));
}
RUST
words=(kaffee2019 kaffee2023 wolke2023 garten2023 wolkekaffee Tr0ub4dour)
scores() {
  echo "crate:      $(./strength "${words[@]}")"
  echo "PyPI:       $("$python" -c 'import sys, zxcvbn
print(*(word + "=" + str(zxcvbn.zxcvbn(word)["score"]) for word in sys.argv[1:]))' "${words[@]}")"
  echo "npm:        $(node -e 'console.log(process.argv.slice(1).map((word) => word + "=" + require("zxcvbn")(word).score).join(" "))' "${words[@]}")"
}
compare scores <<'TEXT'
crate:      kaffee2019=1 kaffee2023=1 wolke2023=2 garten2023=2 wolkekaffee=3 Tr0ub4dour=1
PyPI:       kaffee2019=1 kaffee2023=3 wolke2023=3 garten2023=3 wolkekaffee=3 Tr0ub4dour=1
npm:        kaffee2019=1 kaffee2023=3 wolke2023=3 garten2023=3 wolkekaffee=3 Tr0ub4dour=1
TEXT
as_found
