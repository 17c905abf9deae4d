//! What is kept until it ends, and the commands on it.

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

/// What an element, or a field with its value, takes in memory, roughly.
fn weight_of<const PARTS: usize>(parts: [&Bytes; PARTS]) -> usize {
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
        let weight = key.len() + OVERHEAD + shape.bytes();
        self.make_room(key, weight)?;
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

    /// Lets `key` weigh that much, for which others may have to give way. Nothing does where that is not enough.
    fn make_room(&mut self, key: &str, weight: usize) -> Result<(), CacheError> {
        let is_new = self.at(key).is_none();
        self.sweep(is_new);
        if self.has_room(key, weight) {
            return Ok(());
        }
        let stays = |(other, held): &(&String, &Held)| other.as_str() != key && !held.gives_way();
        let (keys, bytes) = self
            .held
            .iter()
            .filter(stays)
            .fold((0, 0), |(keys, bytes), (_, held)| {
                (keys + 1, bytes + held.weight)
            });
        if keys >= self.most.keys || bytes + weight > self.most.kept_bytes {
            return Err(CacheError::Full);
        }
        while !self.has_room(key, weight) && self.give_way() {}
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
        let is_full =
            self.held.len() >= self.most.keys || self.weight >= self.most.kept_bytes / 8 * 7;
        let has_many = is_new && self.held.len() >= self.sweep_at;
        if has_many || (is_full && self.swept.elapsed() >= SWEEP_PAUSE) {
            let now = Instant::now();
            self.retain(|held| held.ends.is_none_or(|ends| ends > now));
            self.swept = now;
            let most = self.most.keys.max(SWEEP_FROM);
            self.sweep_at = (2 * self.held.len()).clamp(SWEEP_FROM, most);
        }
    }

    /// Drops those that end first of what may give way; false if there is nothing of it.
    fn give_way(&mut self) -> bool {
        let may = self.held.values().filter(|held| held.gives_way());
        let mut ends: Vec<Option<Instant>> = may.map(|held| held.ends).collect();
        if ends.is_empty() {
            return false;
        }
        let last = ends.len() / GIVES_WAY;
        let (_, last, _) = ends.select_nth_unstable(last);
        self.retain(|held| !held.gives_way() || held.ends > *last);
        true
    }

    fn retain(&mut self, stays: impl Fn(&Held) -> bool) {
        let weight = &mut self.weight;
        self.held.retain(|_, held| {
            let stays = stays(held);
            *weight -= if stays { 0 } else { held.weight };
            stays
        });
    }

    /// The collection under `key`.
    fn collection<C: Collection>(&mut self, key: &str) -> Result<Option<&mut C>, CacheError> {
        let held = self.at(key);
        held.map(|held| C::of(&mut held.shape).ok_or_else(wrong_kind))
            .transpose()
    }

    /// Puts something into the collection under `key`, a new one if there is none. The collection has `before`
    /// bytes less then, and `after` bytes more.
    fn put<C: Collection, R>(
        &mut self,
        key: &str,
        (before, after): (usize, usize),
        change: impl FnOnce(&mut C) -> R,
    ) -> Result<R, CacheError> {
        self.collection::<C>(key)?;
        let weight = self
            .at(key)
            .map_or(key.len() + OVERHEAD, |held| held.weight);
        let weight = weight - before + after;
        self.make_room(key, weight)?;
        let held = self.held.entry(key.to_owned());
        let held = held.or_insert_with(|| Held {
            shape: C::default().shape(),
            ends: None,
            weight: 0,
        });
        self.weight = self.weight - held.weight + weight;
        held.weight = weight;
        let collection = C::of(&mut held.shape).ok_or_else(wrong_kind)?;
        Ok(change(collection))
    }

    /// Takes something out of the collection under `key`; `change` says how many bytes.
    fn draw<C: Collection, R>(
        &mut self,
        key: &str,
        change: impl FnOnce(&mut C) -> (R, usize),
    ) -> Result<R, CacheError> {
        let Some(collection) = self.collection::<C>(key)? else {
            return Ok(change(&mut C::default()).0);
        };
        let (answer, gone) = change(collection);
        let is_empty = collection.is_empty();
        self.weight -= gone;
        if let Some(held) = self.at(key) {
            held.weight -= gone;
        }
        if is_empty {
            self.take(key);
        }
        Ok(answer)
    }
}

impl Held {
    fn gives_way(&self) -> bool {
        matches!(self.shape, Shape::WhileRoom(_))
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
            Verb::HashSet(field, bytes) => {
                let before = self.look(key, |hash: &Hash| {
                    let before = hash.get(&field);
                    before.map_or(0, |before| weight_of([&field, before]))
                })?;
                let weights = (before, weight_of([&field, &bytes]));
                let put = |hash: &mut Hash| flag(hash.insert(field, bytes).is_none());
                self.kept.put(key, weights, put)
            }
            Verb::HashGet(field) => self.look(key, |hash: &Hash| value(hash.get(&field).cloned())),
            Verb::HashRemove(field) => self.draw(key, |hash: &mut Hash| {
                let gone = hash.remove(&field);
                let weight = gone.as_ref().map_or(0, |bytes| weight_of([&field, bytes]));
                (flag(gone.is_some()), weight)
            }),
            Verb::HashAll => self.look(key, |hash: &Hash| {
                many(hash.iter().flat_map(|(field, bytes)| [field, bytes]))
            }),
            Verb::ListPush(element) => {
                self.look(key, |_: &List| ())?;
                let weights = (0, weight_of([&element]));
                self.kept.put(key, weights, |list: &mut List| {
                    list.push_front(element);
                    count(list.len())
                })
            }
            Verb::ListPop => self.draw(key, |list: &mut List| {
                let popped = list.pop_back();
                let weight = popped.as_ref().map_or(0, |gone| weight_of([gone]));
                (value(popped), weight)
            }),
            Verb::ListRange(from, to) => self.look(key, |list: &List| {
                many(list.range(places(from, to, list.len())))
            }),
            Verb::ListTrim(from, to) => self.draw(key, |list: &mut List| {
                let places = places(from, to, list.len());
                let gone = list.range(places.end..).chain(list.range(..places.start));
                let weight = gone.map(|gone| weight_of([gone])).sum();
                list.truncate(places.end);
                list.drain(..places.start);
                (Reply::Nothing, weight)
            }),
            Verb::SetAdd(member) => {
                let is_there = self.look(key, |set: &Set| set.contains(&member))?;
                let weight = if is_there { 0 } else { weight_of([&member]) };
                let put = |set: &mut Set| flag(set.insert(member));
                self.kept.put(key, (0, weight), put)
            }
            Verb::SetRemove(member) => self.draw(key, |set: &mut Set| {
                let is_gone = set.remove(&member);
                let weight = if is_gone { weight_of([&member]) } else { 0 };
                (flag(is_gone), weight)
            }),
            Verb::SetHas(member) => self.look(key, |set: &Set| flag(set.contains(&member))),
            Verb::SetAll => self.look(key, |set: &Set| many(set.iter())),
        }
    }

    /// Reads from a collection, an empty one if there is none.
    fn look<C: Collection, R>(
        &mut self,
        key: &str,
        read: impl FnOnce(&C) -> R,
    ) -> Result<R, CacheError> {
        self.is_no_value(key)?;
        Ok(match self.kept.collection(key)? {
            Some(collection) => read(collection),
            None => read(&C::default()),
        })
    }

    fn draw<C: Collection>(
        &mut self,
        key: &str,
        change: impl FnOnce(&mut C) -> (Reply, usize),
    ) -> Result<Reply, CacheError> {
        self.is_no_value(key)?;
        self.kept.draw(key, change)
    }

    fn is_no_value(&self, key: &str) -> Result<(), CacheError> {
        if self.values.contains_key(key) {
            return Err(wrong_kind());
        }
        Ok(())
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
