//! The events that wait for a key, a page in one write: after a back-off, a replay, a discard, or when the
//! missing version came.

use events::Envelope;

use super::{Key, Plan};
use crate::bus::Record;
use crate::consumer::decide::Base;
use crate::consumer::parked::read;
use crate::consumer::{HandlerError, Reason};

/// Most waiting events of a key in one write.
pub const PAGE: usize = 200;

/// A page of the events that wait for a key, while it is decided on.
pub struct Page {
    key: Key,
    waiting: std::vec::IntoIter<(i64, Record)>,
    is_full: bool,
    gap_given_up: bool,
    /// At its end, true if there is more to do now.
    end: Option<bool>,
}

impl Page {
    /// True in the end if there is more to do now.
    pub fn goes_on(&self) -> bool {
        self.end == Some(true)
    }
}

/// The key of the event in the first record that waits for `key`, if that was no event before and can be read
/// now.
pub fn readable_now(key: &Key, waiting: &[(i64, Record)]) -> Option<Key> {
    let (_, record) = waiting.first().filter(|_| key.is_unreadable())?;
    Some(Key::of(record, Ok(&read(record).ok()?)))
}

impl Plan<'_> {
    /// The waiting events of `key`, lowest version first: at most [`PAGE`] of them. If it stands for a
    /// record that can be read now, the keys have the state of its event's key, too.
    pub fn page(&self, key: &Key, waiting: Vec<(i64, Record)>) -> Page {
        let known = self.keys.get(key);
        let is_gap = known.is_some_and(|known| known.state().blocked == Some(Reason::Gap));
        let is_new = known.is_none_or(|known| known.version.is_none());
        Page {
            key: key.clone(),
            // A gap that is due has been given up: the first that waits goes on from there.
            gap_given_up: is_gap && (is_new || self.member.base(&key.topic) == Base::Any),
            is_full: waiting.len() == PAGE,
            waiting: waiting.into_iter(),
            end: None,
        }
    }

    /// The next event of a page whose effect is wanted: its outcome goes to [`Plan::tried`]. At the end of
    /// all that waits, the block goes.
    pub fn next(&mut self, page: &mut Page) -> Option<(Record, Envelope)> {
        while page.end.is_none() {
            let Some((version, record)) = page.waiting.next() else {
                page.end = Some(page.is_full);
                let block = self.known(&page.key).block.clone();
                match block.filter(|_| page.is_full) {
                    Some(block) => self.due(&page.key, block),
                    None => self.set_block(&page.key, None),
                }
                break;
            };
            if page.key.is_unreadable() {
                page.end = Some(false);
                return self.unreadable_again(&page.key, version, record);
            }
            let known = self.known(&page.key).version;
            if known.is_some_and(|known| version <= known) {
                self.unpark(&page.key, version);
                continue;
            }
            let is_next = version == known.map_or(1, |known| known + 1);
            let is_base = known.is_none() && self.member.base(&page.key.topic) == Base::Any;
            if !is_next && !std::mem::take(&mut page.gap_given_up) && !is_base {
                page.end = Some(false);
                self.gap(&page.key, &record, version);
                break;
            }
            match read(&record) {
                Ok(event) => return Some((record, event)),
                Err(malformed) => {
                    page.end = Some(false);
                    self.refused(&page.key, &record, &malformed.into());
                }
            }
        }
        None
    }

    /// Tries again a record that was no event. If a newer release can read it, it is treated like any event.
    fn unreadable_again(
        &mut self,
        key: &Key,
        version: i64,
        record: Record,
    ) -> Option<(Record, Envelope)> {
        match read(&record) {
            Err(malformed) => {
                self.refused(key, &record, &malformed.into());
                None
            }
            Ok(event) => {
                self.unpark(key, version);
                self.set_block(key, None);
                let wanted = self.event(&Key::of(&record, Ok(&event)), &record, &event);
                wanted.then_some((record, event))
            }
        }
    }

    /// Notes that an event of a page has its effect in this write, or was refused.
    pub fn tried(
        &mut self,
        page: &mut Page,
        record: &Record,
        event: &Envelope,
        done: Result<(), HandlerError>,
    ) {
        match done {
            done if page.key.is_unreadable() => {
                self.done(&Key::of(record, Ok(event)), record, event, done);
            }
            Ok(()) => {
                self.unpark(&page.key, event.sequence);
                self.handled(&page.key, event);
            }
            Err(error) => {
                page.end = Some(false);
                self.refused(&page.key, record, &error);
            }
        }
    }
}
