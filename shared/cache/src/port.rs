//! The port: commands on keys of bytes.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::CacheError;
use crate::script::Script;

/// A store of values, counters, hashes, lists and sets under keys, which end by themselves if told to.
///
/// Whatever the adapter, these hold, and `testkit::cache` checks them. Commands of one run take place in their
/// order, and one that fails does not keep the rest from it. A script runs alone. A key that ended is as one
/// that never was. A run is no transaction: others may see its middle.
#[async_trait]
pub trait CacheStore: Send + Sync {
    /// Runs `commands` in order, in one round trip; answers one outcome for each.
    async fn run(
        &self,
        commands: Vec<Command>,
    ) -> Result<Vec<Result<Reply, CacheError>>, CacheError>;

    /// The value under `key`: [`Verb::Get`] without the list around it.
    async fn get(&self, key: &str) -> Result<Option<Bytes>, CacheError>;
}

/// One command.
#[derive(Debug, Clone)]
pub struct Command {
    /// The keys, in full. All but [`Verb::Remove`] and [`Verb::Call`] have one.
    pub keys: Vec<String>,
    /// What is done with them.
    pub verb: Verb,
}

/// What a command does.
#[derive(Debug, Clone)]
pub enum Verb {
    /// Answers the value, or nothing.
    Get,
    /// Replaces whatever is there by a value, which ends after a time if one is given.
    Set(Bytes, Option<Duration>),
    /// Removes what is there; answers how many keys had something.
    Remove,
    /// Adds to the number there, 0 if there is none; answers the sum. When it ends stays as it is.
    Increment(i64),
    /// Has the key end after this time; answers 0 if there is nothing.
    Expire(Duration),
    /// Writes a field of a hash; answers 1 if it is new.
    HashSet(Bytes, Bytes),
    /// Answers a field of a hash, or nothing.
    HashGet(Bytes),
    /// Removes a field of a hash; answers 1 if it was there.
    HashRemove(Bytes),
    /// Answers all fields of a hash, each followed by its value, in any order.
    HashAll,
    /// Puts an element before the first of a list; answers the new length.
    ListPush(Bytes),
    /// Takes the last element of a list away and answers it, or nothing.
    ListPop,
    /// Answers the elements from one place to another, both included. -1 is the last place.
    ListRange(i64, i64),
    /// Removes all elements but those.
    ListTrim(i64, i64),
    /// Adds a member to a set; answers 1 if it is new.
    SetAdd(Bytes),
    /// Removes a member of a set; answers 1 if it was there.
    SetRemove(Bytes),
    /// Answers 1 if it is a member of the set.
    SetHas(Bytes),
    /// Answers the members of a set, in any order.
    SetAll,
    /// Runs a script with these arguments.
    Call(&'static Script, Vec<Bytes>),
}

/// What a command answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// There is none.
    Nothing,
    /// A number.
    Number(i64),
    /// A value.
    Bytes(Bytes),
    /// Several.
    Many(Vec<Reply>),
}
