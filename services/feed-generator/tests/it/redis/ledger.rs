//! The group's store, held against its contract.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use blocks::ManualClock;
use blocks::consumer::{ConsumerStore, HandlerError, Retry};
use blocks::outbox::Outbox as _;
use events::{Envelope, Message, Topic};
use feed_generator::store::redis::group::{Effects, Group, GroupSettings};
use feed_generator::store::redis::link::Link;
use feed_generator::store::redis::outbox::Letters;
use feed_generator::store::redis::words::Words;
use redis::AsyncTypedCommands;
use sql::Faults;
use testkit::consumer_store::{Adapter, GROUP, Refusals, Stepped};

use super::{connection, empty, server};

struct RedisLedger {
    clock: Arc<ManualClock>,
    link: Arc<Link>,
    prefix: String,
}

impl RedisLedger {
    fn new() -> Self {
        use blocks::Clock as _;
        Self {
            clock: Arc::default(),
            link: Arc::new(Link::new(&server()).unwrap()),
            prefix: format!("t:{}:", blocks::SystemClock.id()),
        }
    }
}

/// Notes each step in a list. It speaks before it refuses, so that a refusal has something to take back.
struct Notes(Arc<Refusals>);

impl Effects for Notes {
    fn script(&self) -> String {
        "function words.note(i)
           redis.call('RPUSH', projection .. 'ledger:' .. ARGV[i], ARGV[i + 1])
           return i + 2
         end
         function words.tear(i)
           for _, key in ipairs(redis.call('KEYS', projection .. 'ledger:*')) do
             redis.call('DEL', key)
           end
           return i
         end"
        .to_owned()
    }

    fn effect(&self, event: &Envelope, words: &mut Words) -> Result<(), HandlerError> {
        let Some(step) = event.open::<Stepped>() else {
            return Ok(());
        };
        let step = step?;
        words
            .say("note")
            .say(step.counter.as_str())
            .number(step.value);
        self.0.judge(&step)
    }

    fn forget(&self, _topics: &[String], words: &mut Words) {
        words.say("tear");
    }
}

#[async_trait]
impl Adapter for RedisLedger {
    fn clock(&self) -> Arc<ManualClock> {
        Arc::clone(&self.clock)
    }

    async fn member(&self, topic: Topic, refusals: &Arc<Refusals>) -> Arc<dyn ConsumerStore> {
        let settings = GroupSettings {
            group: GROUP,
            topics: vec![topic],
            prefix: format!("{}group:", self.prefix),
            projection: self.prefix.clone(),
            clock: Arc::clone(&self.clock) as _,
            retry: Retry::default(),
        };
        let effects = Box::new(Notes(Arc::clone(refusals)));
        Arc::new(Group::new(Arc::clone(&self.link), settings, effects))
    }

    async fn ledger(&self) -> BTreeMap<String, Vec<i64>> {
        let mut connection = connection().await;
        let prefix = format!("{}ledger:", self.prefix);
        let mut ledger = BTreeMap::new();
        let keys: Vec<String> = connection.keys(format!("{prefix}*")).await.unwrap();
        for key in keys {
            let steps: Vec<String> = connection.lrange(&key, 0, -1).await.unwrap();
            let steps = steps.iter().map(|step| step.parse().unwrap()).collect();
            ledger.insert(key.strip_prefix(&prefix).unwrap().to_owned(), steps);
        }
        ledger
    }

    async fn dead_letters(&self) -> Vec<Message> {
        let prefix = format!("{}group:", self.prefix);
        let letters = Letters::new(Arc::clone(&self.link), GROUP, &prefix);
        let pending = letters
            .pending(None, blocks::outbox::Place::START, 100)
            .await
            .unwrap();
        pending.into_iter().map(|pending| pending.message).collect()
    }

    fn inject(&self, faults: Arc<dyn Faults>) {
        self.link.inject(faults);
    }

    async fn empty(&self) -> bool {
        empty(&self.prefix).await;
        true
    }

    fn cases(&self) -> u32 {
        48
    }
}

testkit::consumer_store_contract!(
    #[ignore = "needs TEST_REDIS_URL"]
    async {
        RedisLedger::new()
    }
);
