//! What is kept until it ends, and the commands on it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Atomic, Limits, OVERHEAD};
use crate::error::CacheError;
use crate::port::{Reply, Verb};
use crate::script::number;

/// The fewest keys at which it is worth looking for those that ended.
const SWEEP_FROM: usize = 1024;
/// What an element of a collection takes beside its bytes, roughly.
const ELEMENT: usize = 64;
/// Shortest time between two looks when all room is taken.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);
/// The share of what may give way that goes at once: finding them looks at all.
const GIVES_WAY: usize = 16;

pub(super) struct Kept {
    held: HashMap<String, Held>,
    most: Limits,
    /// Bytes of all that is held, roughly.
    weight: usize,
    /// How many keys there may be before those that ended are looked for.
    sweep_at: usize,
    swept: Instant,
}

struct Held {
    shape: Shape,
    ends: Option<Instant>,
    /// Bytes, those of the key included.
    weight: usize,
}

/// The room for a collection to grow in.
struct Room<'a> {
    held: &'a mut usize,
    all: &'a mut usize,
    most: usize,
}

impl Room<'_> {
    /// Takes `after` bytes for an element that had `before`.
    fn swap(&mut self, before: usize, after: usize) -> Result<(), CacheError> {
        let all = *self.all - before + after;
        if after > before && all > self.most {
            return Err(CacheError::Full);
        }
        *self.all = all;
        *self.held = *self.held - before + after;
        Ok(())
    }

    /// Gives back the bytes of elements that went.
    fn free<'e>(&mut self, elements: impl IntoIterator<Item = &'e Bytes>) {
        let bytes: usize = elements.into_iter().map(|gone| weight_of(&[gone])).sum();
        *self.all -= bytes;
        *self.held -= bytes;
    }
}

/// What an element, or a field with its value, takes in memory, roughly.
fn weight_of(parts: &[&Bytes]) -> usize {
    ELEMENT + parts.iter().map(|part| part.len()).sum::<usize>()
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

impl Shape {
    /// Bytes of a value. Those of a collection's elements come with them.
    fn bytes(&self) -> usize {
        match self {
            Self::Value(bytes) | Self::WhileRoom(bytes) => bytes.len(),
            _ => 0,
        }
    }
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
    pub(super) fn new(most: Limits) -> Self {
        Self {
            held: HashMap::new(),
            most,
            weight: 0,
            sweep_at: SWEEP_FROM,
            swept: Instant::now(),
        }
    }

    /// What is under `key` and has not ended.
    fn at(&mut self, key: &str) -> Option<&mut Held> {
        let ended = |held: &Held| held.ends.is_some_and(|ends| ends <= Instant::now());
        if self.held.get(key).is_some_and(ended) {
            self.take(key);
        }
        self.held.get_mut(key)
    }

    fn take(&mut self, key: &str) -> bool {
        let taken = self.held.remove(key);
        self.weight -= taken.as_ref().map_or(0, |held| held.weight);
        taken.is_some()
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
        self.at(key).is_some() && self.take(key)
    }

    /// Writes a value over whatever is there. One that takes no more room than that is never refused.
    pub(super) fn insert(
        &mut self,
        key: &str,
        shape: Shape,
        ends: Option<Instant>,
    ) -> Result<(), CacheError> {
        let is_new = self.at(key).is_none();
        self.sweep(is_new);
        let weight = key.len() + OVERHEAD + shape.bytes();
        if !self.has_room(key, weight) {
            self.give_way();
        }
        if !self.has_room(key, weight) {
            return Err(CacheError::Full);
        }
        self.take(key);
        self.weight += weight;
        let held = Held {
            shape,
            ends,
            weight,
        };
        self.held.insert(key.to_owned(), held);
        Ok(())
    }

    /// True if `key` may weigh that much.
    fn has_room(&self, key: &str, weight: usize) -> bool {
        match self.held.get(key) {
            Some(before) if weight <= before.weight => true,
            Some(before) => self.weight - before.weight + weight <= self.most.kept_bytes,
            None => {
                self.held.len() < self.most.keys && self.weight + weight <= self.most.kept_bytes
            }
        }
    }

    /// Removes what ended, if there are many keys for the first time, or it is nearly full.
    fn sweep(&mut self, is_new: bool) {
        let has_many = is_new && self.held.len() >= self.sweep_at;
        if has_many || (self.is_nearly_full() && self.swept.elapsed() >= SWEEP_PAUSE) {
            let now = Instant::now();
            self.retain(|held| held.ends.is_none_or(|ends| ends > now));
            if self.is_nearly_full() {
                self.give_way();
            }
            self.swept = now;
            let most = self.most.keys.max(SWEEP_FROM);
            self.sweep_at = (2 * self.held.len()).clamp(SWEEP_FROM, most);
        }
    }

    fn is_nearly_full(&self) -> bool {
        self.held.len() >= self.most.keys || self.weight >= self.most.kept_bytes / 8 * 7
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
        self.retain(|held| gives_way(held).is_none_or(|ends| ends > *last));
    }

    fn retain(&mut self, stays: impl Fn(&Held) -> bool) {
        let weight = &mut self.weight;
        self.held.retain(|_, held| {
            let stays = stays(held);
            *weight -= if stays { 0 } else { held.weight };
            stays
        });
    }

    /// Does something with the collection under `key`, an empty one if there is none.
    fn with<C: Collection, R>(
        &mut self,
        key: &str,
        change: impl FnOnce(&mut C, &mut Room<'_>) -> Result<R, CacheError>,
    ) -> Result<R, CacheError> {
        let is_new = self.at(key).is_none();
        self.sweep(is_new);
        let weight = key.len() + OVERHEAD;
        if !self.has_room(key, weight) {
            self.give_way();
        }
        let has_room = self.has_room(key, weight);
        let mut entry = match self.held.entry(key.to_owned()) {
            Entry::Occupied(entry) => entry,
            Entry::Vacant(entry) => {
                self.weight += weight;
                entry.insert_entry(Held {
                    shape: C::default().shape(),
                    ends: None,
                    weight,
                })
            }
        };
        let Held { shape, weight, .. } = entry.get_mut();
        let collection = C::of(shape).ok_or_else(wrong_kind)?;
        let mut room = Room {
            held: weight,
            all: &mut self.weight,
            most: self.most.kept_bytes,
        };
        let answer = change(collection, &mut room);
        let is_refused = !has_room && !collection.is_empty();
        if is_refused || collection.is_empty() {
            self.weight -= entry.remove().weight;
        }
        if is_refused {
            return Err(CacheError::Full);
        }
        answer
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
            Verb::HashSet(field, bytes) => self.with(key, |hash: &mut Hash, room| {
                let before = hash.get(&field);
                let before = before.map_or(0, |before| weight_of(&[&field, before]));
                room.swap(before, weight_of(&[&field, &bytes]))?;
                Ok(flag(hash.insert(field, bytes).is_none()))
            }),
            Verb::HashGet(field) => self.look(key, |hash: &Hash| value(hash.get(&field).cloned())),
            Verb::HashRemove(field) => self.with(key, |hash: &mut Hash, room| {
                let gone = hash.remove(&field);
                let weight = gone.as_ref().map(|bytes| weight_of(&[&field, bytes]));
                room.swap(weight.unwrap_or_default(), 0)?;
                Ok(flag(gone.is_some()))
            }),
            Verb::HashAll => self.look(key, |hash: &Hash| {
                many(hash.iter().flat_map(|(field, bytes)| [field, bytes]))
            }),
            Verb::ListPush(element) => self.with(key, |list: &mut List, room| {
                room.swap(0, weight_of(&[&element]))?;
                list.push_front(element);
                Ok(count(list.len()))
            }),
            Verb::ListPop => self.with(key, |list: &mut List, room| {
                let popped = list.pop_back();
                room.free(&popped);
                Ok(value(popped))
            }),
            Verb::ListRange(from, to) => self.look(key, |list: &List| {
                many(list.range(places(from, to, list.len())))
            }),
            Verb::ListTrim(from, to) => self.with(key, |list: &mut List, room| {
                let places = places(from, to, list.len());
                room.free(list.range(places.end..));
                list.truncate(places.end);
                room.free(list.range(..places.start));
                list.drain(..places.start);
                Ok(Reply::Nothing)
            }),
            Verb::SetAdd(member) => self.with(key, |set: &mut Set, room| {
                if !set.contains(&member) {
                    room.swap(0, weight_of(&[&member]))?;
                }
                Ok(flag(set.insert(member)))
            }),
            Verb::SetRemove(member) => self.with(key, |set: &mut Set, room| {
                let gone = set.take(&member);
                room.free(&gone);
                Ok(flag(gone.is_some()))
            }),
            Verb::SetHas(member) => self.look(key, |set: &Set| flag(set.contains(&member))),
            Verb::SetAll => self.look(key, |set: &Set| many(set.iter())),
        }
    }

    /// Reads from a collection.
    fn look<C: Collection>(
        &mut self,
        key: &str,
        read: impl FnOnce(&C) -> Reply,
    ) -> Result<Reply, CacheError> {
        self.with(key, |collection, _| Ok(read(collection)))
    }

    fn with<C: Collection>(
        &mut self,
        key: &str,
        change: impl FnOnce(&mut C, &mut Room<'_>) -> Result<Reply, CacheError>,
    ) -> Result<Reply, CacheError> {
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
mod tests;
