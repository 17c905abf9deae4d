//! The newest entries in memory, so that a read costs no query. It follows the store through hooks
//! that run after each commit, in commit order, and answers only what it holds completely: anything
//! else is the store's to answer.

use blocks::extract::Keyset;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use uuid::Uuid;

use crate::domain::{GLOBAL_LENGTH, Start, Stream, Window};
use crate::render::{Named, Rendered, Slice};

/// The most that is held.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Entries; twice what the global stream shows, so that deletions seldom need a refill.
    pub entries: usize,
    /// Bytes of entries.
    pub bytes: usize,
    /// Whole rendered pages.
    pub pages: usize,
    /// Bytes of these pages.
    pub page_bytes: usize,
}

/// The cost of a kept page besides its bytes.
const PAGE_OVERHEAD: usize = 128;

impl Default for Bounds {
    fn default() -> Self {
        Self {
            entries: 2 * GLOBAL_LENGTH,
            bytes: 24 << 20,
            pages: 1000,
            page_bytes: 8 << 20,
        }
    }
}

/// The newest entries. All methods are short and never wait.
#[derive(Debug)]
pub struct Mirror {
    bounds: Bounds,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<Keyset, Arc<Rendered>>,
    places: HashMap<Uuid, Keyset>,
    /// The authors that have an entry here.
    authors: HashMap<i64, Author>,
    /// Entries up to this place may be missing. `None`: the whole stream is here.
    missing: Option<Keyset>,
    bytes: usize,
    /// Counts changes: what was read before one must not be kept after it.
    changes: u64,
    /// First pages, by stream and limit.
    pages: HashMap<(Stream, usize), Bytes>,
}

#[derive(Debug, Default)]
struct Author {
    name: Option<Arc<str>>,
    places: BTreeSet<Keyset>,
}

/// The mirror's answer.
#[derive(Debug)]
pub enum Look {
    /// The whole page.
    Page(Bytes),
    /// The entries that make the page.
    Slice(Slice, Seen),
    /// Ask the store.
    Beyond(Seen),
}

/// The number of changes before something was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen(u64);

impl Mirror {
    /// An empty mirror that knows that it holds nothing.
    pub fn new(bounds: Bounds) -> Self {
        let state = State {
            missing: Some(Keyset::TOP),
            ..State::default()
        };
        Self {
            bounds,
            state: Mutex::new(state),
        }
    }

    /// Takes in a post in this state, by an author with this name.
    pub fn put(&self, entry: Arc<Rendered>, name: Option<Arc<str>>) {
        let mut state = self.state.lock();
        state.take_out(entry.place().id);
        state.changed(Some(entry.user_id()));
        state.insert(entry, name);
        state.trim(&self.bounds);
    }

    /// Takes out a deleted post.
    pub fn remove(&self, post_id: Uuid) {
        let mut state = self.state.lock();
        // Without its entry its author is not known: the pages of all authors go.
        let author = state.take_out(post_id);
        state.changed(author);
    }

    /// Takes over an account's new name.
    pub fn rename(&self, user_id: i64, name: Arc<str>) {
        let mut state = self.state.lock();
        state.changed(Some(user_id));
        if let Some(author) = state.authors.get_mut(&user_id) {
            author.name = Some(name);
        }
    }

    /// Takes out the posts of a closed account.
    pub fn forget(&self, user_id: i64) {
        let mut state = self.state.lock();
        state.changed(Some(user_id));
        let places = state
            .authors
            .get(&user_id)
            .map(|author| author.places.clone());
        for place in places.unwrap_or_default() {
            state.take_out(place.id);
        }
    }

    /// Holds `newest` instead. `complete`: the store has no more than these.
    pub fn replace(&self, newest: Vec<Named>, complete: bool) {
        let mut state = self.state.lock();
        let changes = state.changes + 1;
        *state = State {
            changes,
            ..State::default()
        };
        let oldest = newest.iter().map(|(entry, _)| entry.place()).min();
        for (entry, name) in newest {
            state.insert(entry, name);
        }
        if !complete {
            // The oldest one becomes the bound: everything above it is here.
            let bound = oldest.unwrap_or(Keyset::TOP);
            state.take_out(bound.id);
            state.missing = Some(bound);
        }
        state.trim(&self.bounds);
    }

    /// Holds nothing any more, since the last write may or may not have taken place.
    pub fn distrust(&self) {
        self.replace(Vec::new(), false);
    }

    /// True if so little is left that it should be filled from the store.
    pub fn wants_refill(&self) -> bool {
        let state = self.state.lock();
        state.missing.is_some()
            && state.entries.len() < self.bounds.entries * 6 / 10
            && state.bytes < self.bounds.bytes / 2
    }

    /// True if `count` entries of `size` bytes are too many.
    pub fn is_full_with(&self, count: usize, size: usize) -> bool {
        count > self.bounds.entries || size > self.bounds.bytes
    }

    /// The number of users with a stream, if all entries are here.
    pub fn streams(&self) -> Option<usize> {
        let state = self.state.lock();
        state.missing.is_none().then(|| state.authors.len())
    }

    /// The number of entries that the global stream shows, if that is known here.
    pub fn total(&self) -> Option<usize> {
        self.state.lock().total(Stream::Global)
    }

    /// The part of `window` that is known here.
    pub fn look(&self, window: &Window) -> Look {
        let state = self.state.lock();
        if window.start == Start::Skip(0)
            && let Some(page) = state.pages.get(&(window.stream, window.limit))
        {
            return Look::Page(page.clone());
        }
        let seen = Seen(state.changes);
        match state.slice(window) {
            Some(slice) => Look::Slice(slice, seen),
            None => Look::Beyond(seen),
        }
    }

    /// Keeps `page`, made of `slice`, for the next reader, unless something changed since it was
    /// `seen`. Keeps first pages only, and no empty ones: anybody may ask for streams of accounts
    /// that do not exist.
    pub fn keep(&self, window: &Window, seen: Seen, slice: &Slice, page: &Bytes) {
        let wanted = window.start == Start::Skip(0) && !slice.items.is_empty();
        if !wanted || page.len() > self.bounds.page_bytes / 8 {
            return;
        }
        let mut state = self.state.lock();
        if Seen(state.changes) != seen {
            return;
        }
        let bytes = state.page_bytes() + page.len() + PAGE_OVERHEAD;
        if state.pages.len() >= self.bounds.pages || bytes > self.bounds.page_bytes {
            state.pages.clear();
        }
        state
            .pages
            .insert((window.stream, window.limit), page.clone());
    }

    /// Its entries, newest first, and true if these are all: for tests.
    #[doc(hidden)]
    pub fn content(&self) -> (Vec<Named>, bool) {
        let state = self.state.lock();
        let items = state
            .entries
            .values()
            .rev()
            .map(|entry| state.named(entry))
            .collect();
        (items, state.missing.is_none())
    }
}

impl State {
    /// Drops the pages that a change may have made untrue: those of `author`'s entries, or all.
    fn changed(&mut self, author: Option<i64>) {
        self.changes += 1;
        if let Some(author) = author {
            let unaffected = |stream| matches!(stream, Stream::User(user) if user != author);
            self.pages.retain(|(stream, _), _| unaffected(*stream));
        } else {
            self.pages.clear();
        }
    }

    fn page_bytes(&self) -> usize {
        let pages = self.pages.values();
        pages.map(|page| page.len() + PAGE_OVERHEAD).sum()
    }

    fn insert(&mut self, entry: Arc<Rendered>, name: Option<Arc<str>>) {
        let place = entry.place();
        if self.missing.is_some_and(|missing| place <= missing) {
            if let Some(author) = self.authors.get_mut(&entry.user_id()) {
                author.name = name;
            }
            return;
        }
        let author = self.authors.entry(entry.user_id()).or_default();
        author.name = name;
        author.places.insert(place);
        self.bytes += entry.size();
        self.places.insert(place.id, place);
        self.entries.insert(place, entry);
    }

    /// Takes a post out and returns its author.
    fn take_out(&mut self, post_id: Uuid) -> Option<i64> {
        let place = self.places.remove(&post_id)?;
        let entry = self.entries.remove(&place)?;
        self.bytes -= entry.size();
        let user_id = entry.user_id();
        if let Some(author) = self.authors.get_mut(&user_id) {
            author.places.remove(&place);
            if author.places.is_empty() {
                self.authors.remove(&user_id);
            }
        }
        Some(user_id)
    }

    fn trim(&mut self, bounds: &Bounds) {
        while self.entries.len() > bounds.entries || self.bytes > bounds.bytes {
            let Some((&oldest, _)) = self.entries.first_key_value() else {
                break;
            };
            self.take_out(oldest.id);
            self.missing = Some(oldest);
        }
    }

    fn named(&self, entry: &Arc<Rendered>) -> Named {
        let author = self.authors.get(&entry.user_id());
        (
            Arc::clone(entry),
            author.and_then(|author| author.name.clone()),
        )
    }

    fn total(&self, stream: Stream) -> Option<usize> {
        let held = match stream {
            Stream::Global => self.entries.len(),
            Stream::User(user) => self
                .authors
                .get(&user)
                .map_or(0, |author| author.places.len()),
        };
        (held >= stream.length() || self.missing.is_none()).then(|| held.min(stream.length()))
    }

    /// The part of the stream, if all of it is here.
    fn slice(&self, window: &Window) -> Option<Slice> {
        let total = self.total(window.stream)?;
        let (skip, below) = match window.start {
            Start::Skip(skip) => (skip, Bound::Unbounded),
            Start::After(place) => (0, Bound::Excluded(place)),
        };
        let range = (Bound::Unbounded, below);
        let take = window.take();
        let mut items: Vec<Named> = match window.stream {
            Stream::Global => self
                .entries
                .range(range)
                .rev()
                .skip(skip)
                .take(take + 1)
                .map(|(_, entry)| self.named(entry))
                .collect(),
            Stream::User(user) => self
                .authors
                .get(&user)
                .into_iter()
                .flat_map(|author| author.places.range(range).rev())
                .skip(skip)
                .take(take + 1)
                .filter_map(|place| self.entries.get(place))
                .map(|entry| self.named(entry))
                .collect(),
        };
        if take > 0 && items.len() <= take && self.missing.is_some() {
            let is_end = items.len() == take && !window.goes_on_after(take);
            if !is_end {
                return None;
            }
        }
        let more = window.cut(&mut items);
        Some(Slice { items, total, more })
    }
}

#[cfg(test)]
mod tests;
