//! Who is calling, proved by signatures: access tokens, the `X-Identity` assertion and the keys
//! behind both. `EdDSA` (Ed25519) and nothing else.
//!
//! ```text
//! client ── Authorization: Bearer <access token> ──▶ gateway ── validate ──▶ auth
//! gateway ── X-User-* and X-Identity: <assertion> ──▶ service ── Gateway ──▶ Caller
//! ```
//!
//! | what         | says                                   | signed by | lives | read by |
//! |--------------|----------------------------------------|-----------|-------|---------|
//! | access token | account, name, e-mail, role, session   | auth      | a day | auth    |
//! | assertion    | account, name, role, session           | auth      | 60 s  | every service reached over the network |
//!
//! An operator is no account: what they ask of a service's private port carries an assertion of another
//! kind, see [`OperatorKey`].
//!
//! Invariant: nothing but a signature of one of auth's keys makes a [`crate::Caller`]. The two kinds
//! of token never pass for each other: audience and `typ` differ.

mod assertion;
mod crypto;
pub mod headers;
mod keys;
mod operator;
mod refusal;
mod token;

pub use assertion::{AssertionClaims, AssertionVerifier};
pub use headers::bearer;
pub use keys::{Jwk, KeyError, KeySet, KeySource, SigningKey, VerifyingKey};
pub use operator::OperatorKey;
pub use refusal::AuthRefusal;
pub use token::{AccessClaims, SKEW};

/// The issuer named in the tokens of an installation.
pub const ISSUER: &str = "rookery";

#[cfg(test)]
mod tests;
