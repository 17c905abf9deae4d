//! Limits the logins to one account. Ten wrong passwords in a row are let through, then one every
//! half a minute; the right one clears the account. A login refused here costs no hash and no place
//! in the queue for one. So guessing at one account does not keep others out. Nor does it keep its owner out: a
//! network that the account was logged in from lately has ten of its own.
//!
//! Accounts are counted by the client's name for them, whether or not they exist: an unknown one is
//! refused like a known one. The store sees no name, only a keyed hash of it. Replicas count in one
//! Redis where they have one; while it is away, and in one process, the counts are in memory.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use blocks::Clock;
use cache::{CacheError, Limiter, Limits, MemoryStore, Rate, Store};
use ring::hmac;

use crate::client::Client;
use crate::domain::{Account, Login, key};
use crate::error::AuthError;
use crate::keyring;
use crate::store::Credentials;

/// Wrong passwords, or attempts at once, for one account.
const LOGINS: Rate = Rate {
    name: "login",
    limit: NonZeroU32::new(10).expect("ten"),
    period: Duration::from_mins(5),
};
/// Most accounts that are remembered in memory: more than can be tried in half a minute.
const MOST_ACCOUNTS: usize = 16_384;
/// What the keys of auth begin with in a store that others use, too.
pub(crate) const PREFIX: &str = "auth:";

/// The accounts that were tried lately.
pub(crate) struct Attempts {
    /// Made of what all replicas know.
    key: hmac::Key,
    limiter: Limiter,
}

impl Attempts {
    /// Counts in `shared` where there is one, and by `clock` in memory.
    pub fn new(secret_key: &str, clock: Arc<dyn Clock>, shared: Option<Store>) -> Self {
        let limits = Limits {
            bytes: 0,
            keys: MOST_ACCOUNTS,
            ..Limits::default()
        };
        let own = Store::new(MemoryStore::new(clock, limits), PREFIX);
        Self {
            key: keyring::hmac_key(secret_key, b"login attempts"),
            limiter: Limiter::new(LOGINS, own, shared),
        }
    }

    /// Begins an attempt at `login`. Without an outcome it counts as a wrong password, so hanging
    /// up before the answer gains nothing.
    ///
    /// # Errors
    /// When there were too many.
    pub async fn begin(&self, login: &Login) -> Result<Attempt, AuthError> {
        let attempt = match login {
            Login::Email(email) => self.by_email(email),
            Login::Username(name) => self.by_name(name),
            Login::Id(id) => self.by_id(*id),
        };
        self.take(attempt).await
    }

    /// Begins an attempt at an account from a place that it knows.
    ///
    /// # Errors
    /// When there were too many from there.
    pub async fn begin_at(&self, user_id: i64, place: &str) -> Result<Attempt, AuthError> {
        self.take(self.attempt("at", &format!("{user_id} {place}")))
            .await
    }

    /// The name of a client's network, for the store.
    pub fn place(&self, client: &Client) -> Option<String> {
        let network = client.network.as_deref();
        network.map(|network| tag(&self.key, "network", network))
    }

    async fn take(&self, attempt: Attempt) -> Result<Attempt, AuthError> {
        let taken = self.limiter.take(&attempt.0, NonZeroU32::MIN).await?;
        if taken.allowed {
            Ok(attempt)
        } else {
            Err(AuthError::TooManyAttempts(taken.into()))
        }
    }

    /// Ends an attempt without counting it: the password could not be checked.
    ///
    /// # Errors
    /// When this process can't count.
    pub async fn take_back(&self, attempt: Attempt) -> Result<(), CacheError> {
        self.limiter.give_back(&attempt.0, NonZeroU32::MIN).await
    }

    /// Forgives all wrong passwords of an account, and those that came the way of `attempt`.
    ///
    /// # Errors
    /// When this process can't count.
    pub async fn clear(&self, account: &Credentials, attempt: &Attempt) -> Result<(), CacheError> {
        let names = (account.id, &*account.email, &*account.username);
        self.forgive(names, Some(attempt)).await
    }

    /// Forgives all wrong passwords of an account that has got a new one.
    ///
    /// # Errors
    /// When this process can't count.
    pub async fn forget(&self, account: &Account) -> Result<(), CacheError> {
        let names = (account.id, &*account.email, &*account.username);
        self.forgive(names, None).await
    }

    async fn forgive(
        &self,
        (id, email, name): (i64, &str, &str),
        attempt: Option<&Attempt>,
    ) -> Result<(), CacheError> {
        let (id, email, name) = (self.by_id(id), self.by_email(email), self.by_name(name));
        let all = [Some(&id), Some(&email), Some(&name), attempt];
        let all: Vec<&str> = all.into_iter().flatten().map(|of| &*of.0).collect();
        self.limiter.forgive(&all).await
    }

    fn by_email(&self, email: &str) -> Attempt {
        self.attempt("email", email)
    }

    fn by_name(&self, name: &str) -> Attempt {
        self.attempt("username", name)
    }

    fn by_id(&self, id: i64) -> Attempt {
        self.attempt("id", &id.to_string())
    }

    fn attempt(&self, kind: &str, name: &str) -> Attempt {
        Attempt(tag(&self.key, kind, name))
    }
}

/// What a store knows `name` by.
pub(crate) fn tag(by: &hmac::Key, kind: &str, name: &str) -> String {
    let tag = hmac::sign(by, format!("{kind} {}", key(name)).as_bytes());
    // Half of it tells accounts apart for ever.
    let half = tag.as_ref().first_chunk().copied().unwrap_or_default();
    format!("{:032x}", u128::from_be_bytes(half))
}

/// An attempt under way: the account's name in the store.
pub(crate) struct Attempt(String);

#[cfg(test)]
mod tests {
    use blocks::ManualClock;
    use chrono::TimeDelta;

    use super::*;

    struct World {
        clock: Arc<ManualClock>,
        attempts: Attempts,
    }

    fn world() -> World {
        let clock = Arc::new(ManualClock::default());
        let attempts = Attempts::new("a secret key for tests only", clock.clone(), None);
        World { clock, attempts }
    }

    fn named(name: &str) -> Login {
        Login::Username(name.into())
    }

    impl World {
        async fn wrong(&self, login: &Login) -> Result<(), AuthError> {
            self.attempts.begin(login).await.map(drop)
        }

        fn pass(&self, seconds: i64) {
            self.clock.advance(TimeDelta::seconds(seconds));
        }
    }

    #[tokio::test]
    async fn ten_wrong_ones_are_let_through_and_then_one_every_half_minute() {
        let world = world();
        let ada = named("ada");
        for _ in 0..10 {
            world.wrong(&ada).await.unwrap();
        }
        let Err(AuthError::TooManyAttempts(limit)) = world.wrong(&ada).await else {
            panic!("an eleventh was let through");
        };
        assert_eq!((limit.remaining, limit.retry_after), (0, 30));
        assert_eq!((limit.quota, limit.window), (10, 300));
        // The case does not matter; but the same text as an address is another account.
        world.pass(29);
        world.wrong(&named("ADA")).await.unwrap_err();
        world.wrong(&Login::Email("ada".into())).await.unwrap();
        world.pass(1);
        world.wrong(&ada).await.unwrap();
        world.wrong(&ada).await.unwrap_err();
        // After a long wait all ten are free again, and no more.
        world.pass(9000);
        for _ in 0..10 {
            world.wrong(&ada).await.unwrap();
        }
        world.wrong(&ada).await.unwrap_err();
    }

    #[tokio::test]
    async fn the_right_one_clears_and_one_without_an_answer_counts() {
        let world = world();
        let (ada, attempts) = (named("ada"), &world.attempts);
        for _ in 0..9 {
            world.wrong(&ada).await.unwrap();
            world.wrong(&Login::Email("ada@b".into())).await.unwrap();
        }
        let attempt = attempts.begin(&ada).await.unwrap();
        let names = (1, "Ada@b", "Ada");
        attempts.forgive(names, Some(&attempt)).await.unwrap();
        for _ in 0..9 {
            world.wrong(&ada).await.unwrap();
            world.wrong(&Login::Email("ada@b".into())).await.unwrap();
        }
        // The password could not be checked: it may be tried again.
        for _ in 0..20 {
            let attempt = attempts.begin(&ada).await.unwrap();
            attempts.take_back(attempt).await.unwrap();
        }
        drop(attempts.begin(&ada).await.unwrap());
        world.wrong(&ada).await.unwrap_err();
    }

    #[tokio::test]
    async fn of_many_at_once_no_more_are_let_in_than_may_be_wrong() {
        let world = world();
        let (ada, attempts) = (named("ada"), &world.attempts);
        let mut open = Vec::new();
        for _ in 0..10 {
            open.push(attempts.begin(&ada).await.unwrap());
        }
        assert!(attempts.begin(&ada).await.is_err());
        attempts.take_back(open.remove(0)).await.unwrap();
        open.push(attempts.begin(&ada).await.unwrap());
        drop(open);
        world.wrong(&ada).await.unwrap_err();
    }

    #[tokio::test]
    async fn a_clock_that_is_set_back_keeps_nobody_out_for_long() {
        let world = world();
        let ada = named("ada");
        for _ in 0..10 {
            world.wrong(&ada).await.unwrap();
        }
        world.pass(-1_000_000);
        world.wrong(&ada).await.unwrap_err();
        world.pass(30);
        world.wrong(&ada).await.unwrap();
        world.wrong(&ada).await.unwrap_err();
    }

    #[tokio::test]
    async fn it_is_bounded_and_forgets_those_who_were_tried_least() {
        let world = world();
        let ada = named("ada");
        for _ in 0..10 {
            world.wrong(&ada).await.unwrap();
        }
        for number in 0..20_000 {
            world.wrong(&named(&number.to_string())).await.unwrap();
        }
        world.wrong(&ada).await.unwrap_err();
    }

    #[test]
    fn no_name_is_in_the_store_and_replicas_agree_on_what_is() {
        let clock = || Arc::new(ManualClock::default());
        let of = |secret| Attempts::new(secret, clock(), None).by_name("Ada").0;
        let (one, other) = (of("a secret key of a site"), of("a secret key of a site"));
        assert_eq!(one, other);
        assert!(one.len() == 32 && !one.contains("ada"), "{one}");
        assert_ne!(one, of("a secret key of another"));
    }
}
