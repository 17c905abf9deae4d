//! The store in Redis, and what any user of a Redis shares: connections that come back, a circuit breaker, and
//! scripts that the server may not know.
//!
//! Not for Redis Cluster: the keys of a script are not of one slot. What is no value must not be evicted, so
//! a server that evicts at all wants `maxmemory-policy volatile-lru` or `noeviction`.

mod breaker;
mod connection;
mod sentinels;
mod server;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use blocks::error::BoxError;
use bytes::Bytes;
use parking_lot::Mutex;
use redis::{Cmd, Pipeline, RedisError, RedisResult, Value};

use crate::error::CacheError;
use crate::port::{CacheStore, Command, Reply, Verb};
use crate::script::Script;

pub use breaker::{Breaker, BreakerOpen};
pub use connection::Connection;
pub use sentinels::Sentinels;
pub use server::Server;

/// Time limit of an answer: whoever waits for a cache has something else to do.
const PATIENCE: Duration = Duration::from_millis(500);

/// A store in a Redis server, for any number of processes.
pub struct RedisStore {
    connection: Connection,
    breaker: Breaker,
    /// By name.
    scripts: Mutex<HashMap<&'static str, (&'static str, Arc<redis::Script>)>>,
}

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisStore").finish_non_exhaustive()
    }
}

impl RedisStore {
    /// The store in the server of `url`, as [`Server::of`] reads it.
    ///
    /// # Errors
    /// As there.
    pub fn new(url: &str) -> Result<Self, BoxError> {
        Ok(Self {
            connection: Connection::new(&Server::of(url)?, PATIENCE)?,
            breaker: Breaker::default(),
            scripts: Mutex::default(),
        })
    }

    /// The script as the client wants it, with its hash.
    fn script(&self, script: &'static Script) -> Result<Arc<redis::Script>, CacheError> {
        let mut scripts = self.scripts.lock();
        let make = || (script.lua, Arc::new(redis::Script::new(script.lua)));
        let (lua, known) = scripts.entry(script.name).or_insert_with(make);
        if *lua != script.lua {
            let why = format!("two scripts are named {}", script.name);
            return Err(CacheError::Refused(why));
        }
        Ok(Arc::clone(known))
    }

    /// Asks the server, unless it did not answer a moment ago.
    async fn ask<T>(&self, ask: impl Future<Output = RedisResult<T>>) -> Result<T, CacheError> {
        let answer = self.breaker.guard(ask).await;
        Ok(answer.map_err(CacheError::away)??)
    }
}

#[async_trait]
impl CacheStore for RedisStore {
    async fn run(
        &self,
        commands: Vec<Command>,
    ) -> Result<Vec<Result<Reply, CacheError>>, CacheError> {
        // A script alone goes by its hash, and its text only to a server that does not know it.
        if let [
            Command {
                keys,
                verb: Verb::Call(script, args),
            },
        ] = &commands[..]
        {
            let script = self.script(script)?;
            let answer = self.ask(self.connection.call(&script, keys, args)).await;
            return match answer.and_then(reply) {
                Err(away @ CacheError::Away(_)) => Err(away),
                answer => Ok(vec![answer]),
            };
        }
        let mut pipeline = Pipeline::with_capacity(commands.len());
        pipeline.ignore_errors();
        for command in commands {
            pipeline.add_command(packed(command));
        }
        let answers: Vec<RedisResult<Value>> = self.ask(self.connection.query(&pipeline)).await?;
        for error in answers.iter().filter_map(|answer| answer.as_ref().err()) {
            self.connection.note(error);
        }
        let answers = answers.into_iter();
        Ok(answers.map(|answer| reply(answer?)).collect())
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, CacheError> {
        let mut pipeline = Pipeline::with_capacity(1);
        pipeline.cmd("GET").arg(key);
        let (value,): (Option<Vec<u8>>,) = self.ask(self.connection.query(&pipeline)).await?;
        Ok(value.map(Bytes::from))
    }
}

fn packed(command: Command) -> Cmd {
    let Command { keys, verb } = command;
    let make = |name: &str, args: &[&[u8]]| {
        let mut packed = redis::cmd(name);
        packed.arg(&keys);
        for arg in args {
            packed.arg(*arg);
        }
        packed
    };
    let text = |number: i64| number.to_string().into_bytes();
    match verb {
        Verb::Get => make("GET", &[]),
        Verb::Set(value, None) => make("SET", &[&value]),
        Verb::Set(value, Some(ttl)) => make("SET", &[&value, b"PX", &millis(ttl)]),
        Verb::Remove => make("DEL", &[]),
        Verb::Increment(by) => make("INCRBY", &[&text(by)]),
        Verb::Expire(after) => make("PEXPIRE", &[&millis(after)]),
        Verb::HashSet(field, value) => make("HSET", &[&field, &value]),
        Verb::HashGet(field) => make("HGET", &[&field]),
        Verb::HashRemove(field) => make("HDEL", &[&field]),
        Verb::HashAll => make("HGETALL", &[]),
        Verb::ListPush(element) => make("LPUSH", &[&element]),
        Verb::ListPop => make("RPOP", &[]),
        Verb::ListRange(from, to) => make("LRANGE", &[&text(from), &text(to)]),
        Verb::ListTrim(from, to) => make("LTRIM", &[&text(from), &text(to)]),
        Verb::SetAdd(member) => make("SADD", &[&member]),
        Verb::SetRemove(member) => make("SREM", &[&member]),
        Verb::SetHas(member) => make("SISMEMBER", &[&member]),
        Verb::SetAll => make("SMEMBERS", &[]),
        // By its text: a hash that the server does not know fails alone, and what follows it runs without it.
        Verb::Call(script, args) => {
            let mut packed = redis::cmd("EVAL");
            packed.arg(script.lua).arg(keys.len()).arg(&keys);
            for arg in &args {
                packed.arg(&arg[..]);
            }
            packed
        }
    }
}

/// At least one: the server refuses 0.
fn millis(time: Duration) -> Vec<u8> {
    time.as_millis().max(1).to_string().into_bytes()
}

fn reply(value: Value) -> Result<Reply, CacheError> {
    Ok(match value {
        Value::Nil | Value::Okay | Value::SimpleString(_) => Reply::Nothing,
        Value::Int(number) => Reply::Number(number),
        Value::BulkString(bytes) => Reply::Bytes(bytes.into()),
        Value::Array(values) => {
            Reply::Many(values.into_iter().map(reply).collect::<Result<_, _>>()?)
        }
        Value::ServerError(error) => return Err(RedisError::from(error).into()),
        other => return Err(CacheError::Refused(format!("can't read {other:?}"))),
    })
}

/// True if a server refused a command because of the command, and would again.
pub fn is_mistake(error: &RedisError) -> bool {
    use redis::{ErrorKind, ServerErrorKind};
    // These codes report the server's state (busy, can't save, full, password refused, too few
    // replicas), not a mistake of ours.
    let passing = matches!(
        error.code(),
        Some("BUSY" | "MISCONF" | "OOM" | "NOAUTH" | "WRONGPASS" | "NOREPLICAS")
    );
    let mistaken = matches!(
        error.kind(),
        ErrorKind::UnexpectedReturnType | ErrorKind::Server(ServerErrorKind::ResponseError)
    );
    mistaken && !passing
}

impl From<RedisError> for CacheError {
    fn from(error: RedisError) -> Self {
        if error.code() == Some("OOM") {
            Self::Full
        } else if is_mistake(&error) || error.code() == Some("WRONGTYPE") {
            Self::Refused(error.to_string())
        } else {
            Self::away(error)
        }
    }
}
