//! Accounts as they are sent and answered.

use blocks::extract::{Patch, Whole};
use blocks::{FieldErrors, Role};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{Account, Registration, WantedChange};
use crate::error::AuthError;

/// An account.
#[derive(Serialize, ToSchema)]
pub(super) struct AccountView {
    /// Never used twice.
    id: i64,
    /// The mail address.
    email: String,
    /// As its owner writes it.
    username: String,
    first_name: Option<String>,
    last_name: Option<String>,
    /// Any name.
    full_name: Option<String>,
    /// In years.
    age: Option<i64>,
    /// The role, which decides about permissions.
    role: Role,
    /// False for an account that nobody can log in to.
    is_active: bool,
    /// True once its owner has shown that mail to the address arrives.
    email_verified: bool,
    /// When it was opened: RFC 3339.
    #[schema(format = DateTime)]
    created_at: String,
    /// When one of the fields above last changed: RFC 3339.
    #[schema(format = DateTime)]
    updated_at: String,
    /// When somebody last logged in to it: RFC 3339.
    #[schema(format = DateTime)]
    last_login_at: Option<String>,
}

impl From<Account> for AccountView {
    fn from(account: Account) -> Self {
        Self {
            id: account.id,
            email: account.email,
            username: account.username,
            first_name: account.first_name,
            last_name: account.last_name,
            full_name: account.full_name,
            age: account.age,
            role: account.role,
            is_active: account.is_active,
            email_verified: account.email_verified,
            created_at: events::timestamp(account.created_at),
            updated_at: events::timestamp(account.updated_at),
            last_login_at: account.last_login_at.map(events::timestamp),
        }
    }
}

/// An account that an admin opens.
#[derive(Deserialize, ToSchema)]
pub(super) struct NewUser {
    /// The mail address, unique in any case. Blanks around it are dropped.
    #[schema(
        example = "ada@example.org",
        format = "email",
        max_length = 254,
        pattern = r"^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*@([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$"
    )]
    email: String,
    /// Letters, digits, `_`, `.` and `-`; unique in any case. Without one it is made of the address.
    #[schema(min_length = 3, max_length = 32, pattern = "^[A-Za-z0-9_.-]+$")]
    username: Option<String>,
    /// 8 to 1,024 bytes, all of which count. Nobody logs in to an account without one.
    #[schema(
        min_length = 8,
        max_length = 1024,
        // A character has up to four bytes.
        extensions(("x-schema" = json!({"anyOf": [{"maxLength": 256}, {"pattern": "^[\\u0001-\\u007f]*$"}]})))
    )]
    password: Option<String>,
    /// A blank one is none.
    #[schema(max_length = 200)]
    first_name: Option<String>,
    /// A blank one is none.
    #[schema(max_length = 200)]
    last_name: Option<String>,
    /// A blank one is none.
    #[schema(max_length = 200)]
    full_name: Option<String>,
    /// In years.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 150)]
    age: Option<Whole>,
    /// `user` where it is absent.
    role: Option<Role>,
    /// True where it is absent.
    is_active: Option<bool>,
}

impl NewUser {
    /// Refuses what nobody may open for themselves.
    pub(super) fn check_own(&self) -> Result<(), AuthError> {
        if self.role.is_some_and(|role| role != Role::User) {
            return Err(AuthError::OfAdmins("role"));
        }
        if self.is_active == Some(false) {
            return Err(AuthError::OfAdmins("is_active"));
        }
        if self.password.is_none() {
            return Err(FieldErrors::one("password", "is required").into());
        }
        Ok(())
    }
}

impl From<NewUser> for Registration {
    fn from(new: NewUser) -> Self {
        Self {
            email: new.email,
            username: new.username,
            password: new.password,
            first_name: new.first_name,
            last_name: new.last_name,
            full_name: new.full_name,
            age: new.age.map(|Whole(age)| age),
            role: new.role.unwrap_or(Role::User),
            is_active: new.is_active.unwrap_or(true),
            language: None,
        }
    }
}

/// A change of an account: any subset; absent fields stay.
#[derive(Deserialize, ToSchema)]
pub(super) struct UserChange {
    /// The new address; it can't be cleared. Blanks around it are dropped.
    #[serde(default)]
    #[schema(
        value_type = String,
        format = "email",
        max_length = 254,
        pattern = r"^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*@([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$"
    )]
    email: Patch<String>,
    /// The new name; it can't be cleared.
    #[serde(default)]
    #[schema(
        value_type = String,
        min_length = 3,
        max_length = 32,
        pattern = "^[A-Za-z0-9_.-]+$"
    )]
    username: Patch<String>,
    /// Null or a blank one clears it.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 200)]
    first_name: Patch<String>,
    /// Null or a blank one clears it.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 200)]
    last_name: Patch<String>,
    /// Null or a blank one clears it.
    #[serde(default)]
    #[schema(value_type = Option<String>, max_length = 200)]
    full_name: Patch<String>,
    /// Null clears it.
    #[serde(default)]
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 150)]
    age: Patch<Whole>,
    /// For admins alone.
    #[serde(default)]
    #[schema(value_type = Role)]
    role: Patch<Role>,
    /// For admins alone. False ends the account's sessions.
    #[serde(default)]
    #[schema(value_type = bool)]
    is_active: Patch<bool>,
}

impl From<UserChange> for WantedChange {
    fn from(change: UserChange) -> Self {
        Self {
            email: change.email,
            username: change.username,
            first_name: change.first_name,
            last_name: change.last_name,
            full_name: change.full_name,
            age: change.age.map(|Whole(age)| age),
            role: change.role,
            is_active: change.is_active,
        }
    }
}
