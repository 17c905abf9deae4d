//! The contract of a cache's store, one function a promise, each on a store that nobody else uses. An adapter's
//! whole test file is `testkit::cache_contract!(async { store });`.

mod loads;
mod shared;
mod verbs;

use std::time::Duration;

use bytes::Bytes;
use cache::Store;
use tokio::time::{sleep, timeout};

pub use loads::*;
pub use shared::*;
pub use verbs::*;

/// Writes one test for each promise of a store. An attribute before the store goes to each test:
/// `testkit::cache_contract!(#[ignore = "needs a server"] async { … });`
#[macro_export]
macro_rules! cache_contract {
    (@each $attributes:tt $store:expr; $($promise:ident,)*) => {
        $($crate::cache_contract!(@one $attributes $store; $promise);)*
    };
    (@one [$($attributes:tt)*] $store:expr; $promise:ident) => {
        $($attributes)*
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            $crate::cache::$promise(&$store.await).await;
        }
    };
    (@promises $attributes:tt $store:expr) => {
        $crate::cache_contract!(@each $attributes $store;
            a_value_is_there_until_it_is_removed_or_ends,
            a_number_is_counted_on_and_ends_when_it_did,
            a_hash_has_fields_and_is_gone_with_the_last,
            a_list_takes_at_its_head_and_gives_from_its_end,
            a_set_has_each_member_once,
            what_is_of_another_kind_is_refused_and_the_rest_runs,
            a_script_runs_alone_by_name_and_among_others,
            a_lock_has_one_holder_and_each_a_higher_token,
            a_lock_that_ended_or_was_dropped_is_somebody_elses,
            a_rate_is_given_back_evenly,
            what_was_taken_at_a_rate_can_be_given_back,
            a_rate_whose_clock_was_set_back_is_given_back_in_its_period,
            what_was_loaded_is_remembered_and_that_there_is_nothing_too,
            a_thousand_callers_load_once,
            a_failed_load_is_everybodys_and_is_forgotten,
            a_caller_who_goes_away_in_the_middle_leaves_the_load_to_the_next,
            what_changed_under_a_load_is_not_remembered,
            what_cant_be_read_is_loaded_again,
            a_load_that_takes_longer_than_its_lease_runs_once,
            a_load_that_takes_longer_than_patience_is_not_waited_for,
        );
    };
    (#[$($attribute:tt)*] $store:expr) => {
        $crate::cache_contract!(@promises [#[$($attribute)*]] $store);
    };
    ($store:expr) => {
        $crate::cache_contract!(@promises [] $store);
    };
}

/// How long something that must come is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// A lease that no test reaches.
const LONG: Duration = Duration::from_mins(1);
const SHORT: Duration = Duration::from_millis(60);

/// Waits until `is_so`.
async fn until(is_so: impl AsyncFn() -> bool) {
    let wait = async {
        while !is_so().await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("it must come");
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}
