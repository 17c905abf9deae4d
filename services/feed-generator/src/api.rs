//! The endpoints under `/api/activity-stream`.

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use blocks::extract::{Listing, Page, ValidPath};
use blocks::metrics::Quantiles;
use blocks::{Caller, Mediator, Problem};
use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Feed;
use crate::domain::Stream;
use crate::error::FeedError;
use crate::queries::{self, MeasureStats, ReadStream};

/// A post in its latest state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[cfg_attr(test, derive(serde::Deserialize))]
pub struct Item {
    /// The post.
    pub post_id: String,
    /// Its author.
    pub user_id: i64,
    /// The author's name as it is now.
    pub username: String,
    /// What last happened to it: `post.created` or `post.updated`.
    pub event_type: String,
    /// When that happened: RFC 3339 UTC with milliseconds.
    #[schema(format = DateTime)]
    pub timestamp: String,
    /// Its title.
    pub title: String,
    /// Its text, as it was written.
    pub content: String,
    /// Its tags.
    pub tags: Vec<String>,
}

/// How the feed is doing, as measured; null for what can't be measured now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Stats {
    /// Activities that the global stream shows.
    pub global_activity_count: Option<usize>,
    /// Users with a stream of their own.
    pub user_feed_count: Option<usize>,
    /// Whether the store of the streams answers: Redis in a fleet, the feed's own file otherwise.
    pub redis_connected: bool,
    /// Whether the consumer is joined to its group and works: on Kafka in a fleet, on the topic log
    /// otherwise.
    pub kafka_consumer_active: bool,
    /// Records on the topics that are not in the streams yet.
    pub consumer_lag: Option<i64>,
    /// From when events happened until the streams showed them, over the latest of them; null before
    /// the first.
    pub freshness_ms: Option<Quantiles>,
}

impl From<queries::Stats> for Stats {
    fn from(stats: queries::Stats) -> Self {
        Self {
            global_activity_count: stats.counts.map(|counts| counts.activities),
            user_feed_count: stats.counts.map(|counts| counts.streams),
            redis_connected: stats.store_answers,
            kafka_consumer_active: stats.consumer_active,
            consumer_lag: stats.lag,
            freshness_ms: stats.freshness,
        }
    }
}

pub(crate) fn router(feed: Feed) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(global))
        .routes(routes!(own))
        .routes(routes!(of_user))
        .routes(routes!(stats))
        .with_state(feed)
}

/// The account that the path names. What can't be the id of an account names none: 404.
struct UserId(i64);

impl<S: Send + Sync> FromRequestParts<S> for UserId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let ValidPath(text) = ValidPath::<String>::from_request_parts(parts, state).await?;
        // The parser also takes a plus sign and leading zeros, which are no addresses of ours.
        text.parse::<i64>()
            .ok()
            .filter(|id| *id >= 1 && id.to_string() == text)
            .map(Self)
            .ok_or_else(|| Problem::not_found("not_found", "no account can have such an id"))
    }
}

fn json(page: Bytes) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], page)
}

/// Everybody's activity, newest post first: the latest 1000.
#[utoipa::path(get, path = "/api/activity-stream", operation_id = "feed.global", tag = "activity-stream",
    params(Page), responses(
    (status = 200, description = "a page of the stream", body = Listing<Item>),
    (status = 401, description = "`unauthenticated`: the stream is not public here"),
))]
async fn global(
    State(feed): State<Feed>,
    by: Option<Caller>,
    page: Page,
) -> Result<impl IntoResponse, FeedError> {
    let stream = Stream::Global;
    feed.ask(ReadStream { by, stream, page }).await.map(json)
}

/// The caller's own activity, newest post first: the latest 100.
#[utoipa::path(get, path = "/api/activity-stream/user", operation_id = "feed.own", tag = "activity-stream",
    params(Page), responses(
    (status = 200, description = "a page of the stream", body = Listing<Item>),
))]
async fn own(
    State(feed): State<Feed>,
    caller: Caller,
    page: Page,
) -> Result<impl IntoResponse, FeedError> {
    let (stream, by) = (Stream::User(caller.id), Some(caller));
    feed.ask(ReadStream { by, stream, page }).await.map(json)
}

/// A user's activity, newest post first: the latest 100. Empty for an account that has none.
#[utoipa::path(get, path = "/api/activity-stream/user/{user_id}", operation_id = "feed.user", tag = "activity-stream",
    params(("user_id" = i64, Path, description = "The account.", minimum = 1), Page), responses(
    (status = 200, description = "a page of the stream", body = Listing<Item>),
    (status = 401, description = "`unauthenticated`: the stream is not public here"),
    (status = 404, description = "`not_found`: no account can have such an id"),
))]
async fn of_user(
    State(feed): State<Feed>,
    by: Option<Caller>,
    UserId(user_id): UserId,
    page: Page,
) -> Result<impl IntoResponse, FeedError> {
    let stream = Stream::User(user_id);
    feed.ask(ReadStream { by, stream, page }).await.map(json)
}

/// How the feed is doing: how much there is, and how far it is behind.
#[utoipa::path(get, path = "/api/activity-stream/stats", operation_id = "feed.stats", tag = "activity-stream", responses(
    (status = 200, description = "measured now", body = Stats),
    (status = 401, description = "`unauthenticated`: the stream is not public here"),
))]
async fn stats(State(feed): State<Feed>, by: Option<Caller>) -> Result<Json<Stats>, FeedError> {
    let measured = feed.ask(MeasureStats { by }).await?;
    Ok(Json(measured.into()))
}
