//! The contract of a cache's store over memory and Redis, and what only one of them has.

mod memory;
#[cfg(feature = "redis")]
#[expect(
    clippy::unwrap_used,
    reason = "a test that can't be set up should say where"
)]
mod redis;
#[cfg(feature = "redis")]
#[expect(
    clippy::unwrap_used,
    reason = "a test that can't be set up should say where"
)]
mod sentinel;
#[cfg(feature = "redis")]
mod tls;
