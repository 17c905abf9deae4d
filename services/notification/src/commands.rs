//! The commands on an inbox.

use blocks::{Caller, Command};
use uuid::Uuid;

use crate::Notifications;
use crate::domain::Notification;
use crate::error::NotificationError;
use crate::store;

/// Marks one of the caller's notifications as read. Doing it again changes nothing.
pub struct MarkRead {
    pub by: Caller,
    pub id: Uuid,
}
blocks::operation!(MarkRead -> Result<Notification, NotificationError>, "notifications.mark_read",
    |it| user.id = it.by.id, notification.id = %it.id);

impl Command<Notifications> for MarkRead {
    async fn run(self, on: &Notifications) -> Result<Notification, NotificationError> {
        let write = on.db.write(move |tx| {
            Box::pin(async move {
                let marked = store::mark_read(tx, self.by.id, self.id).await?;
                marked.ok_or(NotificationError::NotFound)
            })
        });
        write.await
    }
}

/// Marks all of the caller's notifications as read, and returns how many were unread.
pub struct MarkAllRead {
    pub by: Caller,
}
blocks::operation!(MarkAllRead -> Result<u64, NotificationError>, "notifications.mark_all_read",
    |it| user.id = it.by.id);

impl Command<Notifications> for MarkAllRead {
    async fn run(self, on: &Notifications) -> Result<u64, NotificationError> {
        let user_id = self.by.id;
        let write = on
            .db
            .write(move |tx| Box::pin(store::mark_all_read(tx, user_id)));
        Ok(write.await?)
    }
}
