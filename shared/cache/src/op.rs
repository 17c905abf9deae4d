//! The commands with the types of their answers. Keys are without the store's prefix.
//!
//! What a name means is said at [`Verb`].

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;

use crate::error::CacheError;
use crate::port::{Command, Reply, Verb};
use crate::script::Script;

/// A command whose answer is an `R`.
#[derive(Debug)]
#[must_use = "a command does nothing until a store runs it"]
pub struct Op<R> {
    pub(crate) command: Command,
    answer: PhantomData<fn() -> R>,
}

impl<R> Op<R> {
    fn new(keys: Vec<String>, verb: Verb) -> Self {
        Self {
            command: Command { keys, verb },
            answer: PhantomData,
        }
    }

    fn on(key: &str, verb: Verb) -> Self {
        Self::new(vec![key.to_owned()], verb)
    }
}

/// Writes one function for each verb that has one key.
macro_rules! ops {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $answer:ty = $verb:expr;)*) => {
        $($(#[$doc])* pub fn $name(key: &str, $($arg: $type),*) -> Op<$answer> { Op::on(key, $verb) })*
    };
}

ops! {
    /// [`Verb::Get`]
    get() -> Option<Bytes> = Verb::Get;
    /// [`Verb::Set`]
    set(value: impl Into<Bytes>, ttl: Option<Duration>) -> () = Verb::Set(value.into(), ttl);
    /// [`Verb::Remove`]
    remove() -> bool = Verb::Remove;
    /// [`Verb::Increment`]
    increment(by: i64) -> i64 = Verb::Increment(by);
    /// [`Verb::Expire`]
    expire(after: Duration) -> bool = Verb::Expire(after);
    /// [`Verb::HashSet`]
    hash_set(field: impl Into<Bytes>, value: impl Into<Bytes>) -> bool = Verb::HashSet(field.into(), value.into());
    /// [`Verb::HashGet`]
    hash_get(field: impl Into<Bytes>) -> Option<Bytes> = Verb::HashGet(field.into());
    /// [`Verb::HashRemove`]
    hash_remove(field: impl Into<Bytes>) -> bool = Verb::HashRemove(field.into());
    /// [`Verb::HashAll`]
    hash_all() -> BTreeMap<Bytes, Bytes> = Verb::HashAll;
    /// [`Verb::ListPush`]
    list_push(element: impl Into<Bytes>) -> i64 = Verb::ListPush(element.into());
    /// [`Verb::ListPop`]
    list_pop() -> Option<Bytes> = Verb::ListPop;
    /// [`Verb::ListRange`]
    list_range(from: i64, to: i64) -> Vec<Bytes> = Verb::ListRange(from, to);
    /// [`Verb::ListTrim`]
    list_trim(from: i64, to: i64) -> () = Verb::ListTrim(from, to);
    /// [`Verb::SetAdd`]
    set_add(member: impl Into<Bytes>) -> bool = Verb::SetAdd(member.into());
    /// [`Verb::SetRemove`]
    set_remove(member: impl Into<Bytes>) -> bool = Verb::SetRemove(member.into());
    /// [`Verb::SetHas`]
    set_has(member: impl Into<Bytes>) -> bool = Verb::SetHas(member.into());
    /// [`Verb::SetAll`]
    set_all() -> BTreeSet<Bytes> = Verb::SetAll;
}

/// [`Verb::Call`]
pub fn call<R: FromReply>(script: &'static Script, keys: &[&str], args: Vec<Bytes>) -> Op<R> {
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    Op::new(keys, Verb::Call(script, args))
}

/// What an answer can be read as.
pub trait FromReply: Sized {
    /// Reads it.
    ///
    /// # Errors
    /// When it is something else.
    fn from_reply(reply: Reply) -> Result<Self, CacheError>;
}

impl FromReply for Reply {
    fn from_reply(reply: Reply) -> Result<Self, CacheError> {
        Ok(reply)
    }
}

impl FromReply for () {
    fn from_reply(_: Reply) -> Result<Self, CacheError> {
        Ok(())
    }
}

impl FromReply for i64 {
    fn from_reply(reply: Reply) -> Result<Self, CacheError> {
        match reply {
            Reply::Number(number) => Ok(number),
            _ => Err(CacheError::unexpected("a number")),
        }
    }
}

impl FromReply for bool {
    fn from_reply(reply: Reply) -> Result<Self, CacheError> {
        i64::from_reply(reply).map(|number| number != 0)
    }
}

impl FromReply for Option<Bytes> {
    fn from_reply(reply: Reply) -> Result<Self, CacheError> {
        match reply {
            Reply::Nothing => Ok(None),
            Reply::Bytes(bytes) => Ok(Some(bytes)),
            _ => Err(CacheError::unexpected("a value")),
        }
    }
}

impl FromReply for Bytes {
    fn from_reply(reply: Reply) -> Result<Self, CacheError> {
        Option::from_reply(reply)?.ok_or_else(|| CacheError::unexpected("a value"))
    }
}

impl<R: FromReply> FromReply for Vec<R> {
    fn from_reply(reply: Reply) -> Result<Self, CacheError> {
        match reply {
            Reply::Many(replies) => replies.into_iter().map(R::from_reply).collect(),
            _ => Err(CacheError::unexpected("a list")),
        }
    }
}

impl FromReply for BTreeSet<Bytes> {
    fn from_reply(reply: Reply) -> Result<Self, CacheError> {
        Vec::from_reply(reply).map(Self::from_iter)
    }
}

impl FromReply for BTreeMap<Bytes, Bytes> {
    fn from_reply(reply: Reply) -> Result<Self, CacheError> {
        let flat: Vec<Bytes> = Vec::from_reply(reply)?;
        let (pairs, []) = flat.as_chunks() else {
            return Err(CacheError::unexpected("a hash"));
        };
        let pairs = pairs.iter().cloned();
        Ok(pairs.map(|[field, value]| (field, value)).collect())
    }
}
