//! The commands on an inbox.

use sql::StoreError;
use uuid::Uuid;

use crate::Notifications;
use crate::domain::Notification;
use crate::error::NotificationError;
use crate::store;

/// Marks a user's notification as read. Doing it again changes nothing.
///
/// # Errors
/// When the user has no such notification, or the store can't be reached.
pub async fn mark_read(
    notifications: &Notifications,
    user_id: i64,
    id: Uuid,
) -> Result<Notification, NotificationError> {
    notifications
        .db
        .write(move |tx| {
            Box::pin(async move {
                let marked = store::mark_read(tx, user_id, id).await?;
                marked.ok_or(NotificationError::NotFound)
            })
        })
        .await
}

/// Marks all of a user's notifications as read, and returns how many were unread.
///
/// # Errors
/// When the store can't be reached.
pub async fn mark_all_read(
    notifications: &Notifications,
    user_id: i64,
) -> Result<u64, NotificationError> {
    let marked: Result<u64, StoreError> = notifications
        .db
        .write(move |tx| Box::pin(store::mark_all_read(tx, user_id)))
        .await;
    Ok(marked?)
}
