//! The queries on an inbox.

use blocks::extract::{COUNTED_ROWS, Keyset, Listing, Page};

use crate::Notifications;
use crate::domain::Notification;
use crate::error::NotificationError;
use crate::store::{self, Filter};

/// A page of a user's notifications, newest first; `unread` chooses only unread or only read ones.
///
/// # Errors
/// When the cursor is none of ours, or the store can't be reached.
pub async fn inbox(
    notifications: &Notifications,
    user_id: i64,
    unread: Option<bool>,
    page: &Page,
) -> Result<Listing<Notification>, NotificationError> {
    let after = page.after()?.unwrap_or(Keyset::TOP);
    let filter = Filter { user_id, unread };
    let mut reader = notifications.db.read().await?;
    let total = store::count(&mut reader, filter, COUNTED_ROWS).await?;
    let rows = store::newest(&mut reader, filter, after, page.skip, page.rows()).await?;
    Ok(Listing::of(rows, total, page, |last| {
        Keyset::new(last.created_at, last.id)
    }))
}

/// The number of a user's unread notifications.
///
/// # Errors
/// When the store can't be reached.
pub async fn unread_count(
    notifications: &Notifications,
    user_id: i64,
) -> Result<i64, NotificationError> {
    let mut reader = notifications.db.read().await?;
    let unread = Filter {
        user_id,
        unread: Some(true),
    };
    Ok(store::count(&mut reader, unread, i64::MAX).await?)
}
