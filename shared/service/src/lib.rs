//! A service is one value: its [`Definition`] says all that others have to know of it, and opens it at a
//! [`Place`].
//!
//! ```text
//! services/NAME: DEFINITION ─┬─ open(place) ─▶ Opened ─┬─ all in one process   gateway
//!                            │                         └─ alone, in a fleet    runtime::standalone
//!                            └─ name, routes, topics, settings, store, size ─▶ `rookery generate`
//! ```
//!
//! Code that runs services folds over a list of definitions; nothing else names one.

#![warn(missing_docs)]

mod definition;
mod opened;
mod place;
pub mod settings;

pub use definition::{Definition, Kept, Open, Opens, Size, Store, of_all};
pub use opened::{DataMigration, Identity, Opened, Unfinished};
pub use place::{Close, Place, Role};
