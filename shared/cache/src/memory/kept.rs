//! What is kept until it ends, and the commands on it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Atomic;
use crate::error::CacheError;
use crate::port::{Reply, Verb};
use crate::script::number;

/// The fewest keys at which it is worth looking for those that ended.
const SWEEP_FROM: usize = 1024;
/// Shortest time between two looks when all room is taken.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);
/// The share of what may give way that goes at once: finding them looks at all.
const GIVES_WAY: usize = 16;

pub(super) struct Kept {
    held: HashMap<String, Held>,
    most: usize,
    /// How many keys there may be before those that ended are looked for.
    sweep_at: usize,
    swept: Instant,
}

struct Held {
    shape: Shape,
    ends: Option<Instant>,
}

/// What is under a key.
pub(super) enum Shape {
    Value(Bytes),
    /// A value that gives way when the store is full.
    WhileRoom(Bytes),
    Hash(Hash),
    List(List),
    Set(Set),
}

type Hash = HashMap<Bytes, Bytes>;
type List = VecDeque<Bytes>;
type Set = HashSet<Bytes>;

/// A shape that can be empty, and is gone then.
trait Collection: Default {
    fn of(shape: &mut Shape) -> Option<&mut Self>;
    fn shape(self) -> Shape;
    fn is_empty(&self) -> bool;
}

macro_rules! collection {
    ($($variant:ident),*) => {$(
        impl Collection for $variant {
            fn of(shape: &mut Shape) -> Option<&mut Self> {
                match shape {
                    Shape::$variant(inner) => Some(inner),
                    _ => None,
                }
            }
            fn shape(self) -> Shape {
                Shape::$variant(self)
            }
            fn is_empty(&self) -> bool {
                $variant::is_empty(self)
            }
        }
    )*};
}
collection!(Hash, List, Set);

/// The time until then.
pub(super) fn left(ends: Option<Instant>) -> Duration {
    let left = |ends: Instant| ends.saturating_duration_since(Instant::now());
    ends.map_or(Duration::MAX, left)
}

fn wrong_kind() -> CacheError {
    CacheError::Refused("the key holds the wrong kind of value".into())
}

impl Kept {
    pub(super) fn new(most: usize) -> Self {
        Self {
            held: HashMap::new(),
            most,
            sweep_at: SWEEP_FROM,
            swept: Instant::now(),
        }
    }

    /// What is under `key` and has not ended.
    fn at(&mut self, key: &str) -> Option<&mut Held> {
        let ended = |held: &Held| held.ends.is_some_and(|ends| ends <= Instant::now());
        if self.held.get(key).is_some_and(ended) {
            self.held.remove(key);
        }
        self.held.get_mut(key)
    }

    pub(super) fn value(&mut self, key: &str) -> Result<Option<Bytes>, CacheError> {
        match self.at(key).map(|held| &held.shape) {
            None => Ok(None),
            Some(Shape::Value(bytes) | Shape::WhileRoom(bytes)) => Ok(Some(bytes.clone())),
            Some(_) => Err(wrong_kind()),
        }
    }

    pub(super) fn left(&mut self, key: &str) -> Option<Duration> {
        self.at(key).map(|held| left(held.ends))
    }

    pub(super) fn expire(&mut self, key: &str, ends: Option<Instant>) -> bool {
        self.at(key).map(|held| held.ends = ends).is_some()
    }

    pub(super) fn remove(&mut self, key: &str) -> bool {
        self.at(key).is_some() && self.held.remove(key).is_some()
    }

    pub(super) fn insert(
        &mut self,
        key: &str,
        shape: Shape,
        ends: Option<Instant>,
    ) -> Result<(), CacheError> {
        if self.at(key).is_none() {
            self.make_room()?;
        }
        self.held.insert(key.to_owned(), Held { shape, ends });
        Ok(())
    }

    /// Makes room for one more key.
    fn make_room(&mut self) -> Result<(), CacheError> {
        let now = Instant::now();
        let is_full = self.held.len() >= self.most && now - self.swept >= SWEEP_PAUSE;
        if self.held.len() >= self.sweep_at || is_full {
            self.held
                .retain(|_, held| held.ends.is_none_or(|ends| ends > now));
            self.swept = now;
            self.sweep_at = (2 * self.held.len()).clamp(SWEEP_FROM, self.most.max(SWEEP_FROM));
        }
        if self.held.len() >= self.most {
            self.give_way();
        }
        if self.held.len() >= self.most {
            return Err(CacheError::Full);
        }
        Ok(())
    }

    /// Drops those that end first of what may give way.
    fn give_way(&mut self) {
        let gives_way = |held: &Held| match held.shape {
            Shape::WhileRoom(_) => held.ends,
            _ => None,
        };
        let mut ends: Vec<Instant> = self.held.values().filter_map(gives_way).collect();
        if ends.is_empty() {
            return;
        }
        let last = ends.len() / GIVES_WAY;
        let (_, last, _) = ends.select_nth_unstable(last);
        self.held
            .retain(|_, held| gives_way(held).is_none_or(|ends| ends > *last));
    }

    /// Does something with the collection under `key`, an empty one if there is none.
    fn with<C: Collection, R>(
        &mut self,
        key: &str,
        change: impl FnOnce(&mut C) -> R,
    ) -> Result<R, CacheError> {
        let room = match self.at(key) {
            Some(_) => Ok(()),
            None => self.make_room(),
        };
        let mut entry = match self.held.entry(key.to_owned()) {
            Entry::Occupied(entry) => entry,
            Entry::Vacant(entry) => entry.insert_entry(Held {
                shape: C::default().shape(),
                ends: None,
            }),
        };
        let collection = C::of(&mut entry.get_mut().shape).ok_or_else(wrong_kind)?;
        let answer = change(collection);
        if collection.is_empty() {
            entry.remove();
        } else if let Err(full) = room {
            entry.remove();
            return Err(full);
        }
        Ok(answer)
    }
}

impl Atomic<'_> {
    /// Runs a command.
    pub(super) fn apply(&mut self, keys: &[String], verb: Verb) -> Result<Reply, CacheError> {
        let key = keys.first().map_or("", String::as_str);
        match verb {
            Verb::Call(script, args) => (script.rust)(self, keys, &args),
            Verb::Remove => Ok(count(keys.iter().filter(|key| self.remove(key)).count())),
            Verb::Get => self.get(key).map(value),
            Verb::Set(bytes, ttl) => {
                self.set(key, bytes, ttl);
                Ok(Reply::Nothing)
            }
            Verb::Increment(by) => self.increment(key, by).map(Reply::Number),
            Verb::Expire(after) => Ok(flag(self.expire(key, after))),
            Verb::HashSet(field, bytes) => self.with(key, |hash: &mut Hash| {
                flag(hash.insert(field, bytes).is_none())
            }),
            Verb::HashGet(field) => {
                self.with(key, |hash: &mut Hash| value(hash.get(&field).cloned()))
            }
            Verb::HashRemove(field) => {
                self.with(key, |hash: &mut Hash| flag(hash.remove(&field).is_some()))
            }
            Verb::HashAll => self.with(key, |hash: &mut Hash| {
                many(hash.iter().flat_map(|(field, bytes)| [field, bytes]))
            }),
            Verb::ListPush(element) => self.with(key, |list: &mut List| {
                list.push_front(element);
                count(list.len())
            }),
            Verb::ListPop => self.with(key, |list: &mut List| value(list.pop_back())),
            Verb::ListRange(from, to) => self.with(key, |list: &mut List| {
                many(list.range(places(from, to, list.len())))
            }),
            Verb::ListTrim(from, to) => self.with(key, |list: &mut List| {
                let places = places(from, to, list.len());
                list.truncate(places.end);
                list.drain(..places.start);
                Reply::Nothing
            }),
            Verb::SetAdd(member) => self.with(key, |set: &mut Set| flag(set.insert(member))),
            Verb::SetRemove(member) => self.with(key, |set: &mut Set| flag(set.remove(&member))),
            Verb::SetHas(member) => self.with(key, |set: &mut Set| flag(set.contains(&member))),
            Verb::SetAll => self.with(key, |set: &mut Set| many(set.iter())),
        }
    }

    fn with<C: Collection, R>(
        &mut self,
        key: &str,
        change: impl FnOnce(&mut C) -> R,
    ) -> Result<R, CacheError> {
        if self.values.contains_key(key) {
            return Err(wrong_kind());
        }
        self.kept.with(key, change)
    }

    fn increment(&mut self, key: &str, by: i64) -> Result<i64, CacheError> {
        let before = self.get(key)?.map_or(Ok(0), |text| number(&text))?;
        let too_large = || CacheError::Refused("the sum is too large".into());
        let sum = before.checked_add(by).ok_or_else(too_large)?;
        let left = self.remaining(key).filter(|left| *left < Duration::MAX);
        self.keep(key, sum.to_string(), left)?;
        Ok(sum)
    }
}

fn flag(is_so: bool) -> Reply {
    Reply::Number(is_so.into())
}

fn count(many: usize) -> Reply {
    Reply::Number(i64::try_from(many).unwrap_or(i64::MAX))
}

fn value(bytes: Option<Bytes>) -> Reply {
    bytes.map_or(Reply::Nothing, Reply::Bytes)
}

fn many<'a>(all: impl Iterator<Item = &'a Bytes>) -> Reply {
    Reply::Many(all.cloned().map(Reply::Bytes).collect())
}

/// The places from one to another, both included, counted as Redis does: -1 is the last.
fn places(from: i64, to: i64, length: usize) -> std::ops::Range<usize> {
    let place = |at: i64| match usize::try_from(at) {
        Ok(at) => Some(at),
        Err(_) => length.checked_sub(usize::try_from(at.unsigned_abs()).unwrap_or(usize::MAX)),
    };
    let end = place(to).map_or(0, |to| to.saturating_add(1).min(length));
    place(from).unwrap_or(0).min(end)..end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_as_redis_does() {
        for (from, to, expected) in [
            (0, -1, 0..5),
            (1, 2, 1..3),
            (-2, -1, 3..5),
            (-9, 0, 0..1),
            (3, 1, 2..2),
            (7, 9, 5..5),
            (0, -9, 0..0),
            (i64::MIN, i64::MAX, 0..5),
        ] {
            assert_eq!(places(from, to, 5), expected, "{from} {to}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_ended_makes_room() {
        let mut kept = Kept::new(2);
        let value = || Shape::Value(Bytes::new());
        let ended = Some(Instant::now());
        kept.insert("a", value(), None).unwrap();
        kept.insert("b", value(), ended).unwrap();
        let full = kept.insert("c", value(), None);
        assert!(
            matches!(full, Err(CacheError::Full)),
            "it was looked a moment ago"
        );
        kept.swept = Instant::now().checked_sub(SWEEP_PAUSE).unwrap();
        kept.insert("c", value(), None).unwrap();
        kept.insert("a", value(), None).unwrap();
        kept.swept = Instant::now().checked_sub(SWEEP_PAUSE).unwrap();
        let push = |list: &mut List| list.push_front(Bytes::new());
        assert!(matches!(kept.with("d", push), Err(CacheError::Full)));
        assert_eq!(kept.with("d", |list: &mut List| list.len()).unwrap(), 0);
        assert_eq!(kept.held.len(), 2);
    }

    #[test]
    fn what_may_give_way_does_so_in_the_order_of_its_ends() {
        let mut kept = Kept::new(32);
        let ends = |second: u64| Instant::now().checked_add(Duration::from_mins(second));
        let value = || Shape::WhileRoom(Bytes::new());
        kept.insert("lock", Shape::Value(Bytes::new()), ends(1))
            .unwrap();
        kept.insert("last", value(), ends(1000)).unwrap();
        for n in 0..500 {
            kept.insert(&n.to_string(), value(), ends(2 + n)).unwrap();
            assert!(kept.held.len() <= 32);
        }
        for stays in ["lock", "last", "499"] {
            assert!(kept.value(stays).unwrap().is_some(), "{stays}");
        }
        assert!(kept.value("0").unwrap().is_none());
        for n in 0..31 {
            kept.insert(&format!("lock {n}"), Shape::Value(Bytes::new()), None)
                .unwrap();
        }
        let full = kept.insert("x", value(), ends(5000));
        assert!(matches!(full, Err(CacheError::Full)));
    }
}
