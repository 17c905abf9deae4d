#![doc = include_str!("../../../docs/guides/http-client.md")]
//!
//! # The way of a call
//!
//! ```text
//! RequestBuilder ─ send ─▶ exchange ─┬─ token     fetched once for all who wait
//!                             ▲      ├─ breaker   open: fails at once
//!                             │      ├─ wire      reqwest: connections, TLS, time-outs, size limit
//!                             └ pause ◀─ retry    what may be repeated, within the budget
//! ```

#![warn(missing_docs)]

mod auth;
mod breaker;
mod client;
mod error;
mod exchange;
mod external;
mod request;
mod response;
mod retry;
mod tls;
mod token;

pub use auth::{Auth, ClientCredentials, Style};
pub use breaker::Breaker;
pub use client::{Client, Settings};
pub use error::{Error, Kind, SettingsError};
pub use external::ExternalApi;
pub use request::RequestBuilder;
pub use response::Response;
pub use retry::Retry;
