//! The store of auth: accounts, sessions and signing keys.

mod accounts;
mod changes;
mod erasures;
mod imports;
mod keys;
mod mails;
mod oidc;
mod places;
mod sessions;
mod users;

use blocks::Role;

pub use accounts::*;
pub use changes::*;
pub use erasures::*;
pub use imports::*;
pub use keys::*;
pub use mails::*;
pub use oidc::*;
pub use places::*;
pub use sessions::*;
pub use users::*;

fn role(text: &str) -> Role {
    Role::parse(text).expect("the column has a check constraint")
}
