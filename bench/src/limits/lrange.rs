//! A feed that asks Redis for as many entries as a page has, and sends them as they are.

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use redis::AsyncCommands;
use redis::aio::ConnectionManager;

const LIST: &str = "feed:activity:global";
const LAST: isize = 19;

pub async fn serve(port: u16, url: &str) -> anyhow::Result<()> {
    let redis = redis::Client::open(url)?.get_connection_manager().await;
    let redis = redis.context("could not connect to Redis")?;
    let router = Router::new().route("/", get(page)).with_state(redis);
    super::http::serve(port, |kit| kit.wrap(router)).await
}

async fn page(State(mut redis): State<ConnectionManager>) -> Response {
    match redis.lrange::<_, Vec<String>>(LIST, 0, LAST).await {
        Ok(entries) => {
            let body = format!("[{}]", entries.join(","));
            ([(CONTENT_TYPE, "application/json")], body).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
