//! Answers that come line by line, as long as they go on.

use anyhow::Context;
use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;

/// An answer that comes line by line.
pub(super) struct Lines {
    body: Body,
    read: Vec<u8>,
}

impl From<Body> for Lines {
    fn from(body: Body) -> Self {
        Self {
            body,
            read: Vec::new(),
        }
    }
}

impl Lines {
    /// The next line; `None` at the end.
    pub(super) async fn next<T: DeserializeOwned>(&mut self) -> anyhow::Result<Option<T>> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            let frame = frame.context("the answer was cut off")?;
            let data: Bytes = frame.into_data().unwrap_or_default();
            self.read.extend_from_slice(&data);
        }
    }
}
