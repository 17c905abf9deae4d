//! What an inbox can be asked.

use blocks::FieldErrors;
use blocks::extract::{Cursor, Page};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Notifications;
use crate::domain::Notification;
use crate::error::NotificationError;
use crate::store::{self, Filter, Place};

/// The last ms of the year 9999: every notification is older.
const TOP_MS: i64 = 253_402_300_799_999;

/// A cursor's content: the last item's place.
#[derive(Serialize, Deserialize)]
struct Position(i64, Uuid);

fn place(Position(ms, id): Position) -> Option<Place> {
    let time = DateTime::<Utc>::from_timestamp_millis(ms)?;
    (-TOP_MS..=TOP_MS).contains(&ms).then_some((time, id))
}

/// A part of an inbox.
#[derive(Debug)]
pub struct Inbox {
    /// The notifications, newest first.
    pub items: Vec<Notification>,
    /// How many the whole list has.
    pub total: i64,
    /// Where the next page starts.
    pub next: Option<Cursor>,
}

/// A page of a user's notifications, newest first; `unread` chooses only unread or only read ones.
///
/// # Errors
/// When the cursor is none of ours, or the store can't be reached.
pub async fn inbox(
    notifications: &Notifications,
    user_id: i64,
    unread: Option<bool>,
    page: &Page,
) -> Result<Inbox, NotificationError> {
    let start = match &page.cursor {
        Some(cursor) => cursor.decode()?,
        None => Position(TOP_MS, Uuid::max()),
    };
    let after = place(start)
        .ok_or_else(|| FieldErrors::one("cursor", "is not a next_cursor of this list"))?;
    let filter = Filter { user_id, unread };
    let mut reader = notifications.db().read().await?;
    let total = store::count(&mut reader, filter).await?;
    // One more than asked for says whether the list goes on.
    let mut items = store::newest(&mut reader, filter, after, page.skip, page.limit + 1).await?;
    let limit = usize::try_from(page.limit).unwrap_or_default();
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items
        .last()
        .filter(|_| more)
        .map(|last| Cursor::encode(&Position(last.created_at.timestamp_millis(), last.id)));
    Ok(Inbox { items, total, next })
}

/// How many notifications a user has not read.
///
/// # Errors
/// When the store can't be reached.
pub async fn unread_count(
    notifications: &Notifications,
    user_id: i64,
) -> Result<i64, NotificationError> {
    let mut reader = notifications.db().read().await?;
    Ok(store::count(
        &mut reader,
        Filter {
            user_id,
            unread: Some(true),
        },
    )
    .await?)
}
