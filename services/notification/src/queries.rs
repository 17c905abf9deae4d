//! The queries on an inbox.

use blocks::extract::{COUNTED_ROWS, Keyset, Listing, Page};
use blocks::{Caller, Query};

use crate::Notifications;
use crate::domain::Notification;
use crate::error::NotificationError;
use crate::store::{self, Filter};

/// A page of the caller's notifications, newest first.
pub struct ListInbox {
    pub by: Caller,
    /// Only unread ones, or only read ones.
    pub unread: Option<bool>,
    pub page: Page,
}
blocks::operation!(ListInbox -> Result<Listing<Notification>, NotificationError>, "notifications.list",
    |it| user.id = it.by.id);

impl Query<Notifications> for ListInbox {
    async fn run(self, on: &Notifications) -> Result<Listing<Notification>, NotificationError> {
        let span = self.page.span()?;
        let filter = Filter {
            user_id: self.by.id,
            unread: self.unread,
        };
        let mut reader = on.db.read().await?;
        let total = store::count(&mut reader, filter, COUNTED_ROWS).await?;
        let rows = store::newest(&mut reader, filter, span).await?;
        Ok(Listing::of(rows, total, &self.page, |last| {
            Keyset::new(last.created_at, last.id)
        }))
    }
}

/// The number of the caller's unread notifications.
pub struct CountUnread {
    pub by: Caller,
}
blocks::operation!(CountUnread -> Result<i64, NotificationError>, "notifications.unread_count",
    |it| user.id = it.by.id);

impl Query<Notifications> for CountUnread {
    async fn run(self, on: &Notifications) -> Result<i64, NotificationError> {
        let mut reader = on.db.read().await?;
        let unread = Filter {
            user_id: self.by.id,
            unread: Some(true),
        };
        Ok(store::count(&mut reader, unread, i64::MAX).await?)
    }
}
