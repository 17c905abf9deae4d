//! Who is calling, once the gateway has found out.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

named! {
    /// What an account may do.
    #[derive(Hash, Serialize, Deserialize, utoipa::ToSchema)]
    #[serde(rename_all = "lowercase")]
    pub enum Role {
        /// Everything.
        Admin = "admin",
        /// Its own things.
        User = "user",
        /// Reading only.
        Guest = "guest",
    }
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// The account behind a request. A handler that takes it is only reached with a valid identity; one
/// that takes `Option<Caller>` also without. Cheap to clone.
///
/// It is put into the request by whoever verified it: the gateway in process, or the layer that
/// checks `X-Identity` in a service of its own. No handler reads an identity header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The account.
    pub id: i64,
    /// Its name when the token was made.
    pub name: Arc<str>,
    /// Its e-mail address when the token was made; empty where the assertion carries none.
    pub email: Arc<str>,
    /// Its role.
    pub role: Role,
    /// The session the token belongs to.
    pub session: Uuid,
}

impl Caller {
    /// True if it has the rights of `owner`: as that account or as an admin.
    pub fn may_act_for(&self, owner: i64) -> bool {
        self.id == owner || self.role == Role::Admin
    }
}
