//! The endpoints under `/api/notifications`.

use axum::Json;
use axum::extract::State;
use blocks::extract::{Listing, NoBody, Page, ValidPath, ValidQuery};
use blocks::{Caller, Mediator};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::Notifications;
use crate::commands::{MarkAllRead, MarkRead};
use crate::domain::Notification;
use crate::error::NotificationError;
use crate::queries::{CountUnread, ListInbox};

/// A notification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Notification)]
pub struct NotificationView {
    /// Names it.
    pub id: String,
    /// The kind: `welcome`.
    pub kind: String,
    /// One line.
    pub title: String,
    /// The text.
    pub body: String,
    /// When the user was told: RFC 3339 UTC with milliseconds.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When the user read it; null for an unread one.
    #[schema(format = DateTime)]
    pub read_at: Option<String>,
}

impl From<Notification> for NotificationView {
    fn from(notification: Notification) -> Self {
        Self {
            id: notification.id.to_string(),
            kind: notification.kind,
            title: notification.title,
            body: notification.body,
            created_at: events::timestamp(notification.created_at),
            read_at: notification.read_at.map(events::timestamp),
        }
    }
}

/// Which notifications are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListFilter {
    /// Only unread (`true`) or only read (`false`) ones.
    unread: Option<bool>,
}

/// How many notifications were not read.
#[derive(Debug, Serialize, ToSchema)]
pub struct UnreadCount {
    /// That many.
    pub unread_count: i64,
}

/// The result of marking all as read.
#[derive(Debug, Serialize, ToSchema)]
pub struct MarkedRead {
    /// How many had been unread.
    pub marked_read: u64,
}

pub(crate) fn router(notifications: Notifications) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(unread_count))
        .routes(routes!(mark_read))
        .routes(routes!(mark_all_read))
        .with_state(notifications)
}

/// Lists the caller's notifications, newest first.
#[utoipa::path(get, path = "/api/notifications", operation_id = "notifications.list", tag = "notifications",
    params(Page, ListFilter), responses(
    (status = 200, description = "a page of the inbox", body = Listing<NotificationView>),
))]
async fn list(
    State(notifications): State<Notifications>,
    by: Caller,
    page: Page,
    ValidQuery(ListFilter { unread }): ValidQuery<ListFilter>,
) -> Result<Json<Listing<NotificationView>>, NotificationError> {
    let inbox = notifications.ask(ListInbox { by, unread, page }).await?;
    Ok(Json(inbox.map(NotificationView::from)))
}

/// Counts the caller's unread notifications.
#[utoipa::path(get, path = "/api/notifications/unread-count", operation_id = "notifications.unread_count", tag = "notifications", responses(
    (status = 200, description = "counted", body = UnreadCount),
))]
async fn unread_count(
    State(notifications): State<Notifications>,
    by: Caller,
) -> Result<Json<UnreadCount>, NotificationError> {
    let unread_count = notifications.ask(CountUnread { by }).await?;
    Ok(Json(UnreadCount { unread_count }))
}

/// Marks a notification as read. Doing it again changes nothing.
#[utoipa::path(post, path = "/api/notifications/{id}/read", operation_id = "notifications.mark_read", tag = "notifications",
    params(("id" = String, Path, description = "The notification.")), responses(
    (status = 200, description = "as it is now", body = NotificationView),
    (status = 404, description = "`notification_not_found`: unknown, malformed, or somebody else's"),
))]
async fn mark_read(
    State(notifications): State<Notifications>,
    by: Caller,
    ValidPath(id): ValidPath<String>,
    _: NoBody,
) -> Result<Json<NotificationView>, NotificationError> {
    let id: Uuid = id.parse().map_err(|_| NotificationError::NotFound)?;
    let read = notifications.send(MarkRead { by, id }).await?;
    Ok(Json(read.into()))
}

/// Marks all of the caller's notifications as read.
#[utoipa::path(post, path = "/api/notifications/read-all", operation_id = "notifications.mark_all_read", tag = "notifications", responses(
    (status = 200, description = "how many were unread", body = MarkedRead),
))]
async fn mark_all_read(
    State(notifications): State<Notifications>,
    by: Caller,
    _: NoBody,
) -> Result<Json<MarkedRead>, NotificationError> {
    let marked_read = notifications.send(MarkAllRead { by }).await?;
    Ok(Json(MarkedRead { marked_read }))
}
