//! The store of auth: accounts, sessions and signing keys.

mod accounts;
mod changes;
mod keys;
mod sessions;

use blocks::Role;

pub use accounts::*;
pub use changes::*;
pub use keys::*;
pub use sessions::*;

fn role(text: &str) -> Role {
    Role::parse(text).expect("the column has a check constraint")
}
