//! Measures the memory that logins leave behind. It is a process of its own: tests beside it would
//! be measured, too.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test says where it broke")]

use std::sync::Arc;

use auth::client::Client;
use auth::commands::{LogIn, OpenAccount};
use auth::domain::Login;
use auth::{Auth, MIGRATIONS, Registration, Settings};
use blocks::{Mediator, SystemClock};

const PASSWORD: &str = "correct horse battery";

/// The resident memory of this process, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.unwrap().split_whitespace().nth(1).unwrap();
    number.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_logins_take_no_more_memory_than_one() {
    let clock = Arc::new(SystemClock);
    let db = testkit::db::sqlite_at("auth", MIGRATIONS, clock.clone()).await;
    let settings = Settings {
        hash_threads: 1,
        ..Settings::new("a secret key for tests only")
    };
    let auth = Auth::open(db.db.clone(), settings, clock).await.unwrap();
    let new = Registration::new("ada@example.org", "ada", PASSWORD);
    let (new, once) = (new.check().unwrap(), None);
    auth.send(OpenAccount { new, once }).await.unwrap();
    let login = async || {
        let login = LogIn {
            login: Login::Username("ada".into()),
            password: PASSWORD.into(),
            client: Client::default(),
        };
        auth.send(login).await.unwrap();
    };
    login().await;
    let after_one = resident();
    for _ in 1..30 {
        login().await;
    }
    let more = resident().saturating_sub(after_one);
    assert!(more < 5 * 1024, "29 more logins left {more} KiB");
}
