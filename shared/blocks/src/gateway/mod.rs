//! The gateway in process: who may pass on which route, decided by the same rules that Traefik and
//! auth's `validate` apply in front of a fleet.
//!
//! | mode     | no token    | good token | bad token |
//! |----------|-------------|------------|-----------|
//! | required | 401         | caller     | 401       |
//! | optional | no identity | caller     | 401       |
//! | strip    | auth is not asked, so an expired token never locks anybody out of logging in |
//!
//! Invariant: identity headers from outside never arrive, on any route; a handler finds a typed
//! [`crate::Caller`] or nothing. A route without a rule can't exist: see [`Table::of`].

mod layer;
mod table;

use async_trait::async_trait;

use crate::Caller;

pub use crate::identity::AuthRefusal;
pub use layer::{Gateway, guest_may};
pub use table::{Table, TableError};

/// Tells whose an access token is. It is asked on nearly every request, so it remembers.
#[async_trait]
pub trait Authenticator: Send + Sync + 'static {
    /// The account behind `token`, as it is now.
    ///
    /// # Errors
    /// Why the token is not believed.
    async fn authenticate(&self, token: &str) -> Result<Caller, AuthRefusal>;
}

#[cfg(test)]
pub(crate) mod tests;
