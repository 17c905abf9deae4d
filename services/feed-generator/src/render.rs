//! Entries and pages as the bytes that are sent. An entry is rendered once, in two pieces with the
//! author's name between them: a rename changes no entry.

use std::sync::Arc;

use blocks::extract::{Cursor, Keyset};
use bytes::Bytes;
use serde::Serialize;

use crate::domain::{Entry, Window};

/// An entry's JSON, in pieces around the author's name.
#[derive(Debug, PartialEq, Eq)]
pub struct Rendered {
    place: Keyset,
    user_id: i64,
    /// JSON text of the name to show while the account has brought none.
    username: Box<str>,
    head: Box<str>,
    tail: Box<str>,
}

/// An entry and the JSON text of its author's name, if the account has brought one.
pub type Named = (Arc<Rendered>, Option<Arc<str>>);

/// The JSON text of a name.
pub fn name(username: &str) -> Arc<str> {
    json(username).into()
}

fn json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("texts and lists of them are always JSON")
}

/// The text before a post's creation time in a list. No text within the entry can look like it, since
/// quotation marks are escaped there.
#[cfg(feature = "fleet")]
const CREATED: &str = r#","created_at":""#;

/// The length of the JSON string at the start of `text`.
#[cfg(feature = "fleet")]
fn string_length(text: &str) -> Option<usize> {
    let mut escaped = false;
    let mut bytes = text.bytes().enumerate();
    bytes.next().filter(|(_, first)| *first == b'"')?;
    bytes
        .find(|(_, byte)| {
            let ends = *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            ends
        })
        .map(|(at, _)| at + 1)
}

impl Rendered {
    /// Renders `entry` once for all pages.
    pub fn of(entry: &Entry) -> Self {
        Self {
            place: entry.place(),
            user_id: entry.user_id,
            username: json(&entry.username).into(),
            head: format!(
                r#"{{"post_id":"{}","user_id":{},"username":"#,
                entry.post_id, entry.user_id
            )
            .into(),
            tail: format!(
                r#","event_type":{},"timestamp":"{}","title":{},"content":{},"tags":{}}}"#,
                json(&entry.event_type),
                events::timestamp(entry.happened_at),
                json(&entry.title),
                json(&entry.content),
                json(&entry.tags)
            )
            .into(),
        }
    }

    /// The entry's text in a Redis list: an item's JSON, and when its post was created.
    #[cfg(feature = "fleet")]
    pub fn text(&self) -> String {
        let body = self.tail.strip_suffix('}').unwrap_or(&self.tail);
        let created = events::timestamp(self.place.at());
        format!(
            r#"{}{}{body}{CREATED}{created}"}}"#,
            self.head, self.username
        )
    }

    /// Parses a text made by [`Rendered::text`]; `None` for any other.
    #[cfg(feature = "fleet")]
    pub fn read(text: &str) -> Option<Self> {
        const ID: std::ops::Range<usize> = 12..48;
        let post_id = text.get(ID)?.parse().ok()?;
        let (user, rest) = text
            .get(ID.end..)?
            .strip_prefix(r#"","user_id":"#)?
            .split_once(',')?;
        let rest = rest.strip_prefix(r#""username":"#)?;
        let head = text.len() - rest.len();
        let name = string_length(rest)?;
        let (tail, created) = rest.get(name..)?.rsplit_once(CREATED)?;
        let created = chrono::DateTime::parse_from_rfc3339(created.strip_suffix("\"}")?).ok()?;
        Some(Self {
            place: Keyset {
                ms: created.timestamp_millis(),
                id: post_id,
            },
            user_id: user.parse().ok()?,
            username: rest.get(..name)?.into(),
            head: text.get(..head)?.into(),
            tail: format!("{tail}}}").into(),
        })
    }

    /// The entry's place in the streams.
    pub fn place(&self) -> Keyset {
        self.place
    }

    /// The author's account.
    pub fn user_id(&self) -> i64 {
        self.user_id
    }

    /// The bytes of memory that it holds.
    pub fn size(&self) -> usize {
        self.username.len() + self.head.len() + self.tail.len()
    }
}

/// A page before it is rendered.
#[derive(Debug, PartialEq, Eq)]
pub struct Slice {
    /// The items, newest first.
    pub items: Vec<Named>,
    /// The number of items that the stream shows.
    pub total: usize,
    /// True if the stream goes on after them.
    pub more: bool,
}

impl Slice {
    /// The answer to `window`, with the fields of a [`blocks::extract::Listing`].
    pub fn render(&self, window: &Window) -> Bytes {
        let size: usize = self.items.iter().map(|(item, _)| item.size() + 40).sum();
        let mut out = String::with_capacity(size + 200);
        out.push_str(r#"{"items":["#);
        for (index, (item, name)) in self.items.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            out.push_str(&item.head);
            out.push_str(name.as_deref().unwrap_or(&item.username));
            out.push_str(&item.tail);
        }
        let next = self
            .items
            .last()
            .filter(|_| self.more)
            .map(|(last, _)| window.next(last.place, self.items.len()));
        let next = json(&next.as_ref().map(Cursor::as_str));
        let (total, limit, skip) = (self.total, window.limit, window.skip());
        let end =
            format!(r#"],"total":{total},"limit":{limit},"skip":{skip},"next_cursor":{next}}}"#);
        out.push_str(&end);
        out.into()
    }
}

#[cfg(test)]
mod tests {
    use blocks::extract::{Listing, Page};
    use chrono::DateTime;
    use uuid::Uuid;

    use super::*;
    use crate::api::Item;
    use crate::domain::Stream;

    fn listing(items: Vec<Item>, total: i64, page: &Page, next: Option<Cursor>) -> Listing<Item> {
        Listing {
            items,
            total,
            total_is_at_least: false,
            limit: page.limit,
            skip: page.skip,
            next_cursor: next.map(|next| next.as_str().to_owned()),
        }
    }

    #[test]
    fn a_page_is_byte_for_byte_what_its_documented_types_would_give() {
        let time = DateTime::from_timestamp_millis(1_767_268_800_120).unwrap();
        let entry = Entry {
            post_id: Uuid::from_u128(7),
            user_id: 3,
            username: "o\"ld".into(),
            created_at: time,
            event_type: "post.updated".into(),
            happened_at: time,
            title: "quote \" and \\ and \u{1} and ü".into(),
            content: "line\nline".into(),
            tags: vec!["a\"b".into(), "c".into()],
        };
        let page = Page {
            limit: 2,
            skip: 4,
            cursor: None,
        };
        let window = Window::of(Stream::Global, &page).unwrap();
        let item = |username: &str| Item {
            post_id: entry.post_id.to_string(),
            user_id: 3,
            username: username.into(),
            event_type: entry.event_type.clone(),
            timestamp: "2026-01-01T12:00:00.120Z".into(),
            title: entry.title.clone(),
            content: entry.content.clone(),
            tags: entry.tags.clone(),
        };
        let rendered = Arc::new(Rendered::of(&entry));
        let slice = Slice {
            items: vec![
                (Arc::clone(&rendered), Some(name("n\"ew"))),
                (rendered, None),
            ],
            total: 9,
            more: true,
        };
        let next = Some(window.next(entry.place(), 2));
        let expected = listing(vec![item("n\"ew"), item("o\"ld")], 9, &page, next);
        assert_eq!(
            slice.render(&window),
            serde_json::to_string(&expected).unwrap()
        );

        let last = Slice {
            items: vec![],
            total: 0,
            more: false,
        };
        let expected = listing(vec![], 0, &page, None);
        assert_eq!(
            last.render(&window),
            serde_json::to_string(&expected).unwrap()
        );
    }

    #[cfg(feature = "fleet")]
    #[test]
    fn an_entry_in_redis_is_read_as_it_was_written_whatever_its_texts_are() {
        let time = DateTime::from_timestamp_millis(1_767_268_800_120).unwrap();
        let texts = [
            "",
            "plain",
            "q\"uote",
            "back\\",
            "\\\"",
            r#"","created_at":"x"}"#,
            "ü\n\u{1}",
        ];
        for text in texts {
            let entry = Rendered::of(&Entry {
                post_id: Uuid::from_u128(7),
                user_id: 3,
                username: text.into(),
                created_at: time,
                event_type: "post.created".into(),
                happened_at: time,
                title: text.into(),
                content: text.into(),
                tags: vec![text.into()],
            });
            assert_eq!(Rendered::read(&entry.text()), Some(entry), "{text}");
        }
        for text in ["", "{}", "null", r#"{"post_id":"x"}"#] {
            assert_eq!(Rendered::read(text), None, "{text}");
        }
    }
}
