//! Ports for servers that a test starts.
//!
//! They are below those that a system gives to outgoing connections or to servers that ask for any. A slow
//! server listens long after its port was chosen, and meanwhile nobody else may get it.

use std::collections::BTreeSet;
use std::net::TcpListener;

use parking_lot::Mutex;
use rand::Rng;

const FROM: std::ops::Range<u16> = 10_000..20_000;
/// Ports that this process chose before.
static CHOSEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port that nobody listens on now.
pub fn free_port() -> u16 {
    free_ports(1)
}

/// The first of `count` ports in a row that nobody listens on now.
pub fn free_ports(count: u16) -> u16 {
    let mut chosen = CHOSEN.lock();
    for _ in 0..1000 {
        let first = rand::rng().random_range(FROM.start..FROM.end - count);
        let mut row = first..first + count;
        let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if row.clone().all(|port| !chosen.contains(&port)) && row.all(is_free) {
            chosen.extend(first..first + count);
            return first;
        }
    }
    panic!("no {count} free ports in a row");
}
