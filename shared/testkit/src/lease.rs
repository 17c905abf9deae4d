//! The contract of the sweeper's lease ([`Outbox::lease`]), one function a promise, each on a fresh
//! store. An adapter's whole test file is an [`Adapter`] and
//! `testkit::lease_contract!(async { adapter });`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use blocks::outbox::{LEASE_MS, Outbox};
use blocks::{Clock, SystemClock};
use futures::future::join_all;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// A store that nobody else uses, as its adapter's test file gives it to the suite.
#[async_trait]
pub trait Adapter: Send + Sync {
    /// The outbox whose sweeper it is about.
    fn outbox(&self) -> Arc<dyn Outbox>;

    /// Lets the lease run out, as time would.
    async fn expire(&self);
}

/// Writes one test for each promise of the lease. An attribute before the adapter goes to each test:
/// `testkit::lease_contract!(#[ignore = "needs a server"] async { … });`
#[macro_export]
macro_rules! lease_contract {
    (@each $attributes:tt $adapter:expr; $($promise:ident,)*) => {
        $($crate::lease_contract!(@one $attributes $adapter; $promise);)*
    };
    (@one [$($attributes:tt)*] $adapter:expr; $promise:ident) => {
        $($attributes)*
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            $crate::lease::$promise(&$adapter.await).await;
        }
    };
    (@promises $attributes:tt $adapter:expr) => {
        $crate::lease_contract!(@each $attributes $adapter;
            one_holder_has_the_lease_until_it_expires,
            a_holder_that_slept_past_its_end_finds_it_taken_over,
            of_many_who_want_the_lease_one_gets_it,
            the_lease_ends_by_itself_unless_it_is_renewed,
        );
    };
    (#[$($attribute:tt)*] $adapter:expr) => {
        $crate::lease_contract!(@promises [#[$($attribute)*]] $adapter);
    };
    ($adapter:expr) => {
        $crate::lease_contract!(@promises [] $adapter);
    };
}

/// Its holder keeps it by asking again, under the same epoch; others get nothing meanwhile.
pub async fn one_holder_has_the_lease_until_it_expires(adapter: &impl Adapter) {
    let outbox = adapter.outbox();
    let (first, second) = (SystemClock.id(), SystemClock.id());
    let lease = outbox.lease(first).await.unwrap().unwrap();
    assert_eq!(outbox.lease(second).await.unwrap(), None);
    assert_eq!(outbox.lease(first).await.unwrap(), Some(lease));
    assert_eq!(outbox.lease(second).await.unwrap(), None);
    adapter.expire().await;
    let next = outbox.lease(second).await.unwrap().unwrap();
    assert!(next.epoch > lease.epoch);
}

/// A process that was frozen is told when it wakes up that another one sweeps; later it gets a new lease.
pub async fn a_holder_that_slept_past_its_end_finds_it_taken_over(adapter: &impl Adapter) {
    let outbox = adapter.outbox();
    let (sleeper, other) = (SystemClock.id(), SystemClock.id());
    let lease = outbox.lease(sleeper).await.unwrap().unwrap();
    adapter.expire().await;
    let taken = outbox.lease(other).await.unwrap().unwrap();
    assert!(taken.epoch > lease.epoch);
    assert_eq!(outbox.lease(sleeper).await.unwrap(), None);
    assert_eq!(outbox.lease(other).await.unwrap(), Some(taken));
    adapter.expire().await;
    let again = outbox.lease(sleeper).await.unwrap().unwrap();
    assert!(again.epoch > taken.epoch);
}

/// However many ask at once, for a lease that nobody had and for one that ran out.
pub async fn of_many_who_want_the_lease_one_gets_it(adapter: &impl Adapter) {
    let outbox = adapter.outbox();
    for round in 0..5 {
        let holders: BTreeSet<Uuid> = (0..8).map(|_| SystemClock.id()).collect();
        let got = join_all(holders.iter().map(|holder| outbox.lease(*holder))).await;
        let got = got.into_iter().filter_map(Result::unwrap).count();
        assert_eq!(got, 1, "round {round}");
        adapter.expire().await;
    }
}

/// By the store's own clock: nobody has to take it away from a holder that died.
pub async fn the_lease_ends_by_itself_unless_it_is_renewed(adapter: &impl Adapter) {
    let outbox = adapter.outbox();
    let (first, second) = (SystemClock.id(), SystemClock.id());
    let lease = outbox.lease(first).await.unwrap().unwrap();
    let began = Instant::now();
    let lasts = Duration::from_millis(LEASE_MS.unsigned_abs());
    // Longer than one lasts, asking for it now and then as a relay does.
    while began.elapsed() < lasts + Duration::from_secs(1) {
        assert_eq!(outbox.lease(first).await.unwrap(), Some(lease));
        assert_eq!(outbox.lease(second).await.unwrap(), None);
        sleep(Duration::from_millis(500)).await;
    }
    let ended = Instant::now();
    let next = loop {
        if let Some(next) = outbox.lease(second).await.unwrap() {
            break next;
        }
        assert!(ended.elapsed() < 3 * lasts, "it does not end");
        sleep(Duration::from_millis(200)).await;
    };
    assert!(next.epoch > lease.epoch);
}
