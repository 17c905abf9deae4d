//! The streams' order and length, and the change that each event makes. No I/O.

use blocks::FieldErrors;
use blocks::extract::{Cursor, Keyset, Page};
use chrono::{DateTime, Utc};
use events::posts::{PostCreated, PostDeleted, PostUpdated};
use events::users::AccountChange;
use events::{Envelope, Event, Malformed};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Activities that the global stream shows at most.
pub const GLOBAL_LENGTH: usize = 1000;
/// Activities that a user's stream shows at most.
pub const USER_LENGTH: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// The stream of all users' posts.
    Global,
    /// The stream of one user's posts.
    User(i64),
}

impl Stream {
    /// The most activities that it shows.
    pub fn length(self) -> usize {
        match self {
            Self::Global => GLOBAL_LENGTH,
            Self::User(_) => USER_LENGTH,
        }
    }
}

/// A post as its latest event left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub post_id: Uuid,
    /// The author's account.
    pub user_id: i64,
    /// The author's name in that event; shown while `user.events` have brought none.
    pub username: String,
    /// When the post was first published.
    pub created_at: DateTime<Utc>,
    /// The type of the latest event.
    pub event_type: String,
    pub happened_at: DateTime<Utc>,
    pub title: String,
    pub content: String,
    pub tags: Vec<String>,
}

impl Entry {
    /// The post's place in the streams.
    pub fn place(&self) -> Keyset {
        Keyset::new(self.created_at, self.post_id)
    }
}

/// A change of the streams by an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A post is there in this state.
    Put(Entry),
    /// A post is gone.
    Remove {
        post_id: Uuid,
        /// The author's account.
        user_id: i64,
    },
    /// An account has this name.
    Name {
        /// The account's number.
        user_id: i64,
        /// The account's new name.
        username: String,
    },
    /// An account is closed: its name and its posts go.
    Forget(i64),
}

impl Change {
    /// The change by `event`; `None` for types that change nothing here.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn of(event: &Envelope) -> Result<Option<Self>, Malformed> {
        macro_rules! put {
            ($type:ty) => {
                if let Some(post) = event.open::<$type>() {
                    let post = post?;
                    return Ok(Some(Self::Put(Entry {
                        post_id: post.post_id,
                        user_id: post.user_id,
                        username: post.username,
                        created_at: post.created_at,
                        event_type: <$type>::TYPE.to_owned(),
                        happened_at: event.time,
                        title: post.title,
                        content: post.content,
                        tags: post.tags,
                    })));
                }
            };
        }
        put!(PostCreated);
        put!(PostUpdated);
        if let Some(post) = event.open::<PostDeleted>() {
            let PostDeleted { post_id, user_id } = post?;
            return Ok(Some(Self::Remove { post_id, user_id }));
        }
        Ok(AccountChange::of(event)?.map(|change| match change {
            AccountChange::Named { user_id, username } => Self::Name { user_id, username },
            AccountChange::Closed { user_id } => Self::Forget(user_id),
        }))
    }
}

/// The start of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Start {
    /// After this number of newest items.
    Skip(usize),
    /// After the post at this place.
    After(Keyset),
}

/// A cursor's content: the last item's place, and the number of items the reader has had. By this
/// number a walk gives as many items as the stream shows, although new posts have moved its end.
#[derive(Serialize, Deserialize)]
struct Position(i64, Uuid, usize);

/// The part of a stream that a page shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// The stream that is read.
    pub stream: Stream,
    /// The most items that were asked for.
    pub limit: usize,
    /// The start of the page.
    pub start: Start,
    /// The number of items that the reader has had before.
    given: usize,
}

impl Window {
    /// The window of `stream` that `page` asks for.
    ///
    /// # Errors
    /// Names the parameter when the cursor is none of ours.
    pub fn of(stream: Stream, page: &Page) -> Result<Self, FieldErrors> {
        // Page has checked that both are not negative; what a usize can't hold is beyond the end.
        let limit = usize::try_from(page.limit).unwrap_or_default();
        let Some(cursor) = &page.cursor else {
            let skip = usize::try_from(page.skip).unwrap_or(usize::MAX);
            return Ok(Self {
                stream,
                limit,
                start: Start::Skip(skip),
                given: skip,
            });
        };
        let Position(ms, id, given) = cursor.decode()?;
        match Keyset::try_from((ms, id)) {
            Ok(last) if given <= stream.length() => Ok(Self {
                stream,
                limit,
                start: Start::After(last),
                given,
            }),
            _ => Err(Cursor::unknown()),
        }
    }

    /// The most items that the page may show before the stream ends.
    pub fn take(&self) -> usize {
        self.limit
            .min(self.stream.length().saturating_sub(self.given))
    }

    /// True if the stream may show more after `shown` items of this window.
    pub fn goes_on_after(&self, shown: usize) -> bool {
        self.given.saturating_add(shown) < self.stream.length()
    }

    /// The number of items to read: one more than are shown, to tell whether the stream goes on.
    pub fn rows(&self) -> usize {
        match self.take() {
            0 => 0,
            take => take + 1,
        }
    }

    /// Cuts `read` to the items that are shown; true when the stream goes on after them.
    pub fn cut<T>(&self, read: &mut Vec<T>) -> bool {
        let take = self.take();
        let more = read.len() > take && self.goes_on_after(take);
        read.truncate(take);
        more
    }

    /// The `skip` that the answer repeats.
    pub fn skip(&self) -> usize {
        match self.start {
            Start::Skip(skip) => skip,
            Start::After(_) => 0,
        }
    }

    /// The cursor of the next page when this one ends with `last` after `shown` items.
    pub fn next(&self, last: Keyset, shown: usize) -> Cursor {
        Cursor::encode(&Position(
            last.ms,
            last.id,
            self.given.saturating_add(shown),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_never_reaches_beyond_the_streams_end() {
        let page = |limit, skip| Page {
            limit,
            skip,
            cursor: None,
        };
        let take = |stream, limit, skip| Window::of(stream, &page(limit, skip)).unwrap().take();
        assert_eq!(take(Stream::Global, 20, 0), 20);
        assert_eq!(take(Stream::Global, 100, 990), 10);
        assert_eq!(take(Stream::User(1), 100, 1), 99);
        assert_eq!(take(Stream::User(1), 100, 100), 0);
        assert_eq!(take(Stream::Global, 100, i64::MAX), 0);
    }

    #[test]
    fn a_walk_by_cursor_gives_as_many_as_the_stream_shows() {
        let first = Window::of(
            Stream::User(1),
            &Page {
                limit: 60,
                ..Page::default()
            },
        )
        .unwrap();
        let last = Keyset {
            ms: 5,
            id: Uuid::from_u128(9),
        };
        let page = Page {
            limit: 60,
            skip: 0,
            cursor: Some(first.next(last, 60)),
        };
        let second = Window::of(Stream::User(1), &page).unwrap();
        assert_eq!(second.start, Start::After(last));
        assert_eq!(second.take(), 40);
        assert!(!second.goes_on_after(40));
    }

    #[test]
    fn a_cursor_that_is_not_ours_is_refused() {
        for position in [
            (i64::MAX, Uuid::nil(), 0),
            (i64::MIN, Uuid::nil(), 0),
            (0, Uuid::nil(), 1001),
        ] {
            let page = Page {
                cursor: Some(Cursor::encode(&position)),
                ..Page::default()
            };
            assert!(Window::of(Stream::Global, &page).is_err(), "{position:?}");
        }
        let page = Page {
            cursor: Some(Cursor::encode(&"x")),
            ..Page::default()
        };
        assert!(Window::of(Stream::Global, &page).is_err());
    }
}
