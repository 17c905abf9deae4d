//! Answers that come a line at a time.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::header::CONTENT_TYPE;
use serde::Serialize;

/// Answers with a line of JSON for each item of `stream`. An error cuts the answer off, which its reader
/// sees.
pub fn answer<T, S>(stream: S) -> Response
where
    T: Serialize,
    S: Stream<Item = anyhow::Result<Vec<T>>> + Send + 'static,
{
    let lines = stream.map(|items| {
        let mut text = Vec::new();
        for item in items? {
            serde_json::to_writer(&mut text, &item)?;
            text.push(b'\n');
        }
        Ok::<_, anyhow::Error>(Bytes::from(text))
    });
    let media_type = [(CONTENT_TYPE, "application/x-ndjson")];
    (media_type, Body::from_stream(lines)).into_response()
}
