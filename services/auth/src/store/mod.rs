//! What auth keeps: accounts, sessions and signing keys.

mod accounts;
mod keys;
mod sessions;

use blocks::Role;

pub use accounts::*;
pub use keys::*;
pub use sessions::*;

fn role(text: &str) -> Role {
    text.parse().expect("the column has a check constraint")
}
