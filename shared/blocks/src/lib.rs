//! The building blocks of a service: ports, the kit around every request, delivery, identity,
//! configuration and telemetry. It knows no database and no broker.

pub mod backoff;
pub mod bus;
pub mod caller;
pub mod clock;
pub mod config;
pub mod consumer;
pub mod context;
pub mod docs;
pub mod error;
pub mod extract;
pub mod gateway;
pub mod health;
pub mod identity;
pub mod kit;
pub mod metrics;
pub mod moving;
pub mod ndjson;
pub mod outbox;
pub mod problem;
pub mod relay;
pub mod service;
pub mod telemetry;

pub use caller::{Caller, Role};
pub use clock::{Clock, ManualClock, SystemClock};
pub use problem::{AsProblem, FieldErrors, Problem};
pub use service::{Mode, Route, Service};
