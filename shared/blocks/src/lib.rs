//! The building blocks of a service: ports, the kit around every request, delivery, identity,
//! configuration and telemetry. It knows no database and no broker.
//!
//! A rule collects what is wrong into [`FieldErrors`]; a service's error says by [`AsProblem`] what a client
//! is told of it:
//! ```
//! use blocks::{AsProblem, FieldErrors, Problem, problem_response};
//!
//! fn title(title: &str) -> Result<(), FieldErrors> {
//!     let mut errors = FieldErrors::default();
//!     if title.trim().is_empty() {
//!         errors.add("title", "is required");
//!     }
//!     errors.into_result()
//! }
//!
//! #[derive(Debug, thiserror::Error)]
//! enum TaskError {
//!     #[error(transparent)]
//!     Refused(#[from] FieldErrors),
//!     #[error("the store is away")]
//!     Store(#[from] std::io::Error),
//! }
//!
//! impl AsProblem for TaskError {
//!     fn problem(&self) -> Problem {
//!         match self {
//!             Self::Refused(fields) => fields.problem(),
//!             Self::Store(_) => Problem::unavailable("store_unavailable").retry_after(1),
//!         }
//!     }
//! }
//! problem_response!(TaskError); // handlers may return it
//!
//! let refused = TaskError::from(title(" ").unwrap_err());
//! assert_eq!((refused.problem().status().as_u16(), refused.to_string().as_str()), (400, "title is required"));
//! ```

#![warn(missing_docs)]

#[macro_use]
mod named;

/// The guides whose code is run as a test.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guides/errors.md")]
mod guides {}

pub mod backoff;
pub mod bus;
pub mod caller;
pub mod clock;
pub mod command;
pub mod config;
pub mod consumer;
pub mod context;
pub mod data_migration;
pub mod docs;
pub mod error;
pub mod extract;
pub mod gateway;
pub mod health;
pub mod identity;
pub mod kit;
pub mod metrics;
pub mod ndjson;
pub mod outbox;
pub mod problem;
pub mod relay;
pub mod service;
pub mod telemetry;

pub use caller::{Caller, Role};
pub use clock::{Clock, ManualClock, SystemClock};
pub use command::{Command, Mediator, Operation, Query};
pub use problem::{AsProblem, FieldErrors, Problem};
pub use service::{Mode, Route, Service};
#[doc(hidden)]
pub use tracing; // `operation!` names it
