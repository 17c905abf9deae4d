//! Auth as clients, gateways and other services meet it.
#![expect(clippy::unwrap_used, reason = "a test says where it broke")]

mod accounts;
#[cfg(feature = "fleet")]
mod attempts;
mod forward;
mod imports;
mod keys;
mod mails;
mod oidc;
mod places;
mod refresh;
mod replicas;
mod sessions;
mod users;
mod validate;
mod world;
