//! An answer.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::de::DeserializeOwned;

use crate::error::{Asked, Error, Kind};

/// An answer, whole.
#[derive(Clone)]
pub struct Response {
    /// The status, whatever it is.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// All of the body.
    pub body: Bytes,
    pub(crate) asked: Asked,
}

impl Response {
    /// Itself, if its status is 2xx.
    ///
    /// # Errors
    /// [`Kind::Status`].
    pub fn success(self) -> Result<Self, Error> {
        if self.status.is_success() {
            return Ok(self);
        }
        Err(self.asked.failed(Kind::Status(self.status)))
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// [`Kind::Body`]. It says where the body is wrong, and nothing of what stands there.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            let why = match error.classify() {
                serde_json::error::Category::Data => "another type was expected",
                _ => "it is no JSON",
            };
            let asked = self.asked.clone();
            asked.failed(Kind::Body(format!("{why} at {place}")))
        })
    }

    /// The body as text; what is no UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The body may hold secrets, and headers too.
impl fmt::Debug for Response {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Response")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}
