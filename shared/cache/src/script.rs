//! Scripts: what has to run alone, said in Lua for Redis and in Rust for memory. The contract suite holds both
//! to the same.

use std::time::Duration;

use bytes::Bytes;

use crate::error::CacheError;
use crate::memory::Atomic;
use crate::port::Reply;

/// A function that runs alone in its store. Known there by its name.
#[derive(Debug)]
pub struct Script {
    /// One name, one script.
    pub name: &'static str,
    /// For Redis.
    pub lua: &'static str,
    /// The same for memory.
    pub rust: Body,
}

/// What a script does with keys and arguments.
pub type Body = fn(&mut Atomic<'_>, &[String], &[Bytes]) -> Result<Reply, CacheError>;

/// How long a lock's last fencing token is kept. It is only needed where a server's clock was set back.
pub(crate) const FENCE_TTL: Duration = Duration::from_hours(24);

/// Takes a lock, unless somebody has it, or the value that it is for is there.
///
/// Keys: lock, fence, and perhaps the value. Arguments: nonce, lease and fence's time in ms.
/// Answers `[0, ms that are left]`, `[1, owner]` or `[2, value]`; an owner is `token:nonce`.
pub(crate) static ACQUIRE: Script = Script {
    name: "cache.acquire",
    lua: include_str!("lua/acquire.lua"),
    rust: |atomic, keys, args| {
        if let Some(key) = keys.get(2)
            && let Some(value) = atomic.get(key)?
        {
            return Ok(Reply::Many(vec![Reply::Number(2), Reply::Bytes(value)]));
        }
        if let Some(left) = atomic.remaining(&keys[0]) {
            let left = i64::try_from(left.as_millis()).unwrap_or(i64::MAX);
            return Ok(Reply::Many(vec![Reply::Number(0), Reply::Number(left)]));
        }
        let last = atomic.get(&keys[1])?.map_or(Ok(0), |last| number(&last))?;
        let token = (atomic.now_us() / 1000).max(last + 1);
        let owner = [token.to_string().as_bytes(), b":", &args[0]].concat();
        let owner = Bytes::from(owner);
        atomic.keep(&keys[1], token.to_string(), Some(millis(&args[2])?))?;
        atomic.keep(&keys[0], owner.clone(), Some(millis(&args[1])?))?;
        Ok(Reply::Many(vec![Reply::Number(1), Reply::Bytes(owner)]))
    },
};

/// Gives a lock back, if it is still its owner's, and writes the value that it was for if there is one.
///
/// Keys: lock, and perhaps the value's. Arguments: owner, and perhaps value and its time in ms. Answers 1, or 0
/// if it is somebody else's.
pub(crate) static RELEASE: Script = Script {
    name: "cache.release",
    lua: include_str!("lua/release.lua"),
    rust: |atomic, keys, args| {
        if atomic.get(&keys[0])?.as_ref() != Some(&args[0]) {
            return Ok(Reply::Number(0));
        }
        if let Some(key) = keys.get(1) {
            atomic.set(key, args[1].clone(), Some(millis(&args[2])?));
        }
        atomic.remove(&keys[0]);
        Ok(Reply::Number(1))
    },
};

/// Has a lock end later, if it is still its owner's.
///
/// Key: lock. Arguments: owner, lease in ms. Answers 1, or 0 if it is somebody else's.
pub(crate) static EXTEND: Script = Script {
    name: "cache.extend",
    lua: include_str!("lua/extend.lua"),
    rust: |atomic, keys, args| {
        if atomic.get(&keys[0])?.as_ref() != Some(&args[0]) {
            return Ok(Reply::Number(0));
        }
        atomic.keep(&keys[0], args[0].clone(), Some(millis(&args[1])?))?;
        Ok(Reply::Number(1))
    },
};

/// The generic cell rate algorithm: a key holds the time at which all that was taken is given back.
///
/// Key: that time in µs. Arguments: µs for one, how many at once, how many are wanted. Answers `[1 if taken,
/// how many are left, µs until it may be tried again, µs until all is given back]`. A clock that was set back
/// leaves a time too far ahead: it is cut to what can have been taken.
pub(crate) static TAKE: Script = Script {
    name: "cache.take",
    lua: include_str!("lua/take.lua"),
    rust: |atomic, keys, args| {
        let (every, burst, wanted) = (number(&args[0])?, number(&args[1])?, number(&args[2])?);
        let now = atomic.now_us();
        let full = every.saturating_mul(burst);
        let kept = atomic.get(&keys[0])?;
        let kept = kept.map_or(Ok(now), |back| number(&back))?;
        let most = now.saturating_add(full);
        let back = kept.max(now).min(most);
        let next = back.saturating_add(every.saturating_mul(wanted));
        let early = next - now - full;
        let answer = |taken, back: i64, wait| {
            let answer = [taken, (full - (back - now)) / every, wait, back - now];
            Ok(Reply::Many(answer.map(Reply::Number).into()))
        };
        if early > 0 {
            if kept > most {
                keep_rate(atomic, &keys[0], most)?;
            }
            return answer(0, back, early);
        }
        keep_rate(atomic, &keys[0], next)?;
        answer(1, next, 0)
    },
};

/// Gives back what was taken and not used.
///
/// Key: as [`TAKE`] keeps it. Arguments: µs for one, how many. Answers 1, or 0 if nothing was taken.
pub(crate) static GIVE_BACK: Script = Script {
    name: "cache.give_back",
    lua: include_str!("lua/give_back.lua"),
    rust: |atomic, keys, args| {
        let Some(kept) = atomic.get(&keys[0])? else {
            return Ok(Reply::Number(0));
        };
        let given = number(&args[0])?.saturating_mul(number(&args[1])?);
        keep_rate(atomic, &keys[0], number(&kept)?.saturating_sub(given))?;
        Ok(Reply::Number(1))
    },
};

/// Sets how much was taken, by the time in which all of it is given back.
///
/// Key: as [`TAKE`] keeps it. Argument: that time in µs.
pub(crate) static SET_TAKEN: Script = Script {
    name: "cache.set_taken",
    lua: include_str!("lua/set_taken.lua"),
    rust: |atomic, keys, args| {
        let back = atomic.now_us().saturating_add(number(&args[0])?);
        keep_rate(atomic, &keys[0], back)?;
        Ok(Reply::Nothing)
    },
};

/// Keeps the time at which all is given back, for as long as it is to come.
fn keep_rate(atomic: &mut Atomic<'_>, key: &str, back: i64) -> Result<(), CacheError> {
    let left = u64::try_from(back - atomic.now_us()).unwrap_or_default();
    if left == 0 {
        atomic.remove(key);
        return Ok(());
    }
    atomic.keep_while_room(key, back.to_string(), Duration::from_micros(left))
}

/// Reads a number that is written as text.
pub(crate) fn number(text: &[u8]) -> Result<i64, CacheError> {
    let number = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok());
    number.ok_or_else(|| CacheError::Refused("value is not an integer".into()))
}

fn millis(text: &[u8]) -> Result<Duration, CacheError> {
    Ok(Duration::from_millis(number(text)?.unsigned_abs()))
}
