//! The contract of [`blocks::consumer::ConsumerStore`], one function a promise, each on a fresh store.
//! An adapter's whole test file is an [`Adapter`] and
//! `testkit::consumer_store_contract!(async { adapter });`.
//!
//! The group under test keeps a ledger: it reads [`Stepped`] and notes the value of each step under its
//! counter, in the order in which the effects take place.

mod bench;
mod delivery;
mod operator;
mod outages;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use blocks::ManualClock;
use blocks::consumer::{ConsumerStore, HandlerError};
use events::{Cleanup, Envelope, Event, Message, Topic};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sql::Faults;

pub use bench::{Bench, numbered};
pub use delivery::*;
pub use operator::*;
pub use outages::*;

/// The name of the group under test.
pub const GROUP: &str = "ledger";

/// The topic that it reads.
pub const STEPS: Topic = Topic {
    name: "steps",
    partitions: 3,
    cleanup: Cleanup::Delete {
        after_ms: 604_800_000,
    },
};

/// The same topic, were it compacted.
pub const COMPACTED: Topic = Topic {
    cleanup: Cleanup::Compact {
        after_ms: 604_800_000,
    },
    ..STEPS
};

/// A counter went one step on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stepped {
    /// The counter's name.
    pub counter: String,
    /// The counter's new value.
    pub value: i64,
}

impl Event for Stepped {
    const TOPIC: &'static Topic = &STEPS;
    const TYPE: &'static str = "counter.stepped";
    const VERSION: u16 = 1;
    fn subject(&self) -> String {
        self.counter.clone()
    }
}

/// The steps that a handler refuses.
#[derive(Debug, Default)]
pub struct Poison {
    /// Steps that are unreadable for good.
    pub unreadable: BTreeSet<(String, i64)>,
    /// Steps refused this time.
    pub rejected: BTreeSet<(String, i64)>,
    /// The handler panics over them.
    pub panics: BTreeSet<(String, i64)>,
    /// Steps for which the handler needs something that is away.
    pub away: BTreeSet<(String, i64)>,
}

/// The current refusals of the ledger's handler. An adapter asks after it has written as much as it can, so
/// that a refusal has something to undo.
#[derive(Debug, Default)]
pub struct Refusals {
    /// Changed by tests at any time.
    pub poison: Mutex<Poison>,
}

impl Refusals {
    /// Refuses nothing from now on.
    pub fn cure(&self) {
        *self.poison.lock() = Poison::default();
    }

    /// The handler's answer to `step`.
    ///
    /// # Errors
    /// When it is to be refused.
    ///
    /// # Panics
    /// When the handler is to panic over it.
    pub fn judge(&self, step: &Stepped) -> Result<(), HandlerError> {
        // A handler that is made to panic must not take the other tests' lock with it.
        let poison = self.poison.lock();
        let of = (step.counter.clone(), step.value);
        assert!(!poison.panics.contains(&of), "a bug");
        if poison.away.contains(&of) {
            return Err(HandlerError::Unavailable("a provider is away".into()));
        }
        if poison.unreadable.contains(&of) {
            return Err(HandlerError::Poison("poison".into()));
        }
        if poison.rejected.contains(&of) {
            return Err(HandlerError::Rejected("refused for now".into()));
        }
        Ok(())
    }

    /// The step in `event`, unless it is refused; `None` for an event of another type.
    ///
    /// # Errors
    /// When it can't be read or is to be refused.
    pub fn step(&self, event: &Envelope) -> Result<Option<Stepped>, HandlerError> {
        let Some(step) = event.open::<Stepped>() else {
            return Ok(None);
        };
        let step = step?;
        self.judge(&step)?;
        Ok(Some(step))
    }
}

/// A store that nobody else uses, as its adapter's test file gives it to the suite.
#[async_trait]
pub trait Adapter: Send + Sync {
    /// The clock that the store goes by.
    fn clock(&self) -> Arc<ManualClock>;

    /// A member of [`GROUP`] in this store that reads `topic` and asks `refusals`. Members share the stored
    /// state.
    async fn member(&self, topic: Topic, refusals: &Arc<Refusals>) -> Arc<dyn ConsumerStore>;

    /// The values under each counter, in the order in which they were written.
    async fn ledger(&self) -> BTreeMap<String, Vec<i64>>;

    /// The messages that wait for dead-letter topics.
    async fn dead_letters(&self) -> Vec<Message>;

    /// Fails the writes that `faults` names, those of all members.
    fn inject(&self, faults: Arc<dyn Faults>);

    /// Loses all data of the store, behind its members' backs. False where a store can't lose it without
    /// its schema.
    async fn empty(&self) -> bool {
        false
    }

    /// Number of random deliveries that it can take within a minute.
    fn cases(&self) -> u32 {
        12
    }
}

/// Writes one test for each promise of a consumer's store. An attribute before the adapter goes to each
/// test: `testkit::consumer_store_contract!(#[ignore = "needs a server"] async { … });`
#[macro_export]
macro_rules! consumer_store_contract {
    (@each $attributes:tt $adapter:expr; $($promise:ident,)*) => {
        $($crate::consumer_store_contract!(@one $attributes $adapter; $promise);)*
    };
    (@one [$($attributes:tt)*] $adapter:expr; $promise:ident) => {
        $($attributes)*
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            $crate::consumer_store::$promise(async || $adapter.await).await;
        }
    };
    (@promises $attributes:tt $adapter:expr) => {
        $crate::consumer_store_contract!(@each $attributes $adapter;
            every_version_takes_effect_once_and_in_order,
            poison_holds_back_its_own_key_only_and_a_replay_gives_the_state_without_it,
            a_discarded_event_is_gone_and_the_rest_of_its_key_goes_on,
            a_missing_version_is_listed_after_a_while_and_an_operator_may_skip_it,
            a_key_that_lost_its_beginning_to_age_starts_at_what_is_left,
            a_hole_that_age_made_in_a_known_key_ends_by_itself_on_a_compacted_topic_only,
            a_record_that_is_no_event_lands_in_the_dead_letter_topic_and_stays_alone,
            an_event_of_a_newer_schema_is_a_dead_letter_and_one_with_added_fields_is_read,
            a_refused_event_is_tried_a_few_times_and_then_given_up,
            a_handler_that_panics_holds_back_its_own_key_only,
            a_handler_whose_provider_is_away_holds_the_batch_and_counts_nothing,
            a_nul_in_a_header_or_a_key_is_poison_and_no_outage,
            a_store_that_was_reset_asks_to_be_read_from_the_start,
            a_store_that_was_emptied_while_in_use_is_filled_again,
            what_can_not_be_read_waits_once_wherever_its_batch_fails,
            a_store_that_was_emptied_is_noticed_also_by_who_is_given_another_partition,
            a_log_that_begins_anew_is_read_and_what_was_seen_before_has_no_second_effect,
            a_gap_that_closes_lets_what_waited_behind_it_go_on_at_once,
            a_long_gap_that_closes_in_a_batch_with_later_versions_lets_all_of_it_go_on,
            two_members_that_were_given_the_same_records_write_them_once,
            two_members_with_the_same_first_batch_at_once_write_it_once,
            members_of_different_partitions_write_beside_each_other,
            two_members_that_retry_the_same_key_at_once_apply_it_once,
        );
    };
    (#[$($attribute:tt)*] $adapter:expr) => {
        $crate::consumer_store_contract!(@promises [#[$($attribute)*]] $adapter);
    };
    ($adapter:expr) => {
        $crate::consumer_store_contract!(@promises [] $adapter);
    };
}

/// The complete ledger of each counter, once all was delivered.
pub fn complete(counters: &BTreeMap<String, i64>) -> BTreeMap<String, Vec<i64>> {
    counters
        .iter()
        .map(|(counter, value)| (counter.clone(), (1..=*value).collect()))
        .collect()
}
