//! Accounts and the rules for names, addresses and passwords. No I/O.

mod names;

use std::collections::BTreeSet;

use blocks::extract::{Patch, filled};
use blocks::{FieldErrors, Role};
use chrono::{DateTime, Utc};
use mail::Language;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use names::{EmailAddress, Username, fold, key};

/// The length of a password in bytes.
pub(crate) const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 8..=1024;
const AGE: std::ops::RangeInclusive<i64> = 0..=150;
/// The longest first, last or full name, in characters.
const MAX_NAME: usize = 200;

/// An account as it is stored, without its password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The account's number, never used twice.
    pub id: i64,
    /// The address, as its owner writes it.
    pub email: String,
    /// The username, as its owner writes it.
    pub username: String,
    /// The first name, as its owner writes it.
    pub first_name: Option<String>,
    /// The last name, as its owner writes it.
    pub last_name: Option<String>,
    /// The full name, as its owner writes it.
    pub full_name: Option<String>,
    /// The age in years.
    pub age: Option<i64>,
    /// The role, which says what it may do.
    pub role: Role,
    /// False for an account that nobody can log in to.
    pub is_active: bool,
    /// True once its owner has shown that mail to the address arrives.
    pub email_verified: bool,
    /// When the account was opened.
    pub created_at: DateTime<Utc>,
    /// When one of the fields above last changed.
    pub updated_at: DateTime<Utc>,
    /// When somebody last logged in to it.
    pub last_login_at: Option<DateTime<Utc>>,
}

impl Account {
    /// The texts by whose beginning it is found, in small letters.
    pub fn terms(&self) -> BTreeSet<String> {
        let names = [&self.first_name, &self.last_name, &self.full_name];
        let names = names.into_iter().flatten().map(String::as_str);
        let terms = names.chain([&*self.email, &self.username]);
        terms.map(fold).filter(|term| !term.is_empty()).collect()
    }
}

/// What happened to an account.
#[derive(Debug, Clone, Copy)]
pub enum AccountEvent<'a> {
    Opened(&'a Account),
    /// Opened for somebody who had it elsewhere.
    Imported(&'a Account),
    Changed(&'a Account),
    Closed {
        user_id: i64,
    },
    LoggedIn {
        user_id: i64,
        session: Uuid,
    },
    SessionEnded {
        user_id: i64,
        session: Uuid,
        /// Why, where that is not its owner's wish.
        reason: Option<&'static str>,
    },
}

/// A request for an account, not yet checked.
#[derive(Clone)]
pub struct Registration {
    /// The address; blanks around it are dropped.
    pub email: String,
    /// Without one it is made of the address.
    pub username: Option<String>,
    /// 8 to 1,024 bytes, all of which count. Nobody logs in to an account without one.
    pub password: Option<String>,
    /// Up to 200 characters; a blank one is none.
    pub first_name: Option<String>,
    /// Up to 200 characters; a blank one is none.
    pub last_name: Option<String>,
    /// Up to 200 characters; a blank one is none.
    pub full_name: Option<String>,
    /// The age in years, 0 to 150.
    pub age: Option<i64>,
    pub role: Role,
    /// False for an account that nobody can log in to yet.
    pub is_active: bool,
    /// The language of its mails; without one that of the site.
    pub language: Option<Language>,
}

/// An account to open, checked against the rules.
#[derive(Clone)]
pub struct NewAccount {
    pub email: EmailAddress,
    pub username: Option<Username>,
    pub password: Option<String>,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub full_name: Option<String>,
    pub age: Option<i64>,
    pub role: Role,
    pub is_active: bool,
    pub language: Option<Language>,
}

impl NewAccount {
    /// What is known of its owner: bad guesses for a password.
    pub fn terms(&self) -> Vec<String> {
        let email = self.email.as_str();
        let username = self.username.as_ref().map(Username::as_str);
        let names = [&self.first_name, &self.last_name, &self.full_name];
        let names = names.into_iter().filter_map(Option::as_deref);
        let known = email.split('@').take(1).chain([email]).chain(username);
        known.chain(names).map(str::to_owned).collect()
    }

    /// All but the password, of which no quick hash may be kept: to tell one request from another.
    pub fn parts(&self) -> impl Serialize + '_ {
        let names = (&self.first_name, &self.last_name, &self.full_name);
        let username = self.username.as_ref().map(Username::as_str);
        let email = self.email.as_str();
        (email, username, names, self.age, self.role, self.is_active)
    }
}

impl Registration {
    /// A request for an account at an address, with nothing else.
    pub fn at(email: impl Into<String>) -> Self {
        Self {
            email: email.into(),
            username: None,
            password: None,
            first_name: None,
            last_name: None,
            full_name: None,
            age: None,
            role: Role::User,
            is_active: true,
            language: None,
        }
    }

    /// The request of somebody who wants to log in to it.
    pub fn new(
        email: impl Into<String>,
        username: impl Into<String>,
        password: impl Into<String>,
    ) -> Self {
        Self {
            username: Some(username.into()),
            password: Some(password.into()),
            ..Self::at(email)
        }
    }

    /// Checks and normalises the fields: no blanks around the address, no blank name.
    ///
    /// # Errors
    /// Names every field that breaks a rule.
    pub fn check(self) -> Result<NewAccount, FieldErrors> {
        let mut errors = FieldErrors::default();
        let email = errors.take("email", EmailAddress::parse(&self.email));
        let username = self.username.as_deref().map(Username::parse).transpose();
        let username = errors.take("username", username);
        if let Some(password) = &self.password {
            check_length("password", password, &mut errors);
        }
        for (field, name) in [
            ("first_name", &self.first_name),
            ("last_name", &self.last_name),
            ("full_name", &self.full_name),
        ] {
            if let Some(name) = name {
                check_name(field, name, &mut errors);
            }
        }
        if let Some(age) = self.age {
            check_age(age, &mut errors);
        }
        match (email, username) {
            (Some(email), Some(username)) if errors.is_empty() => Ok(NewAccount {
                email,
                username,
                password: self.password,
                first_name: self.first_name.and_then(filled),
                last_name: self.last_name.and_then(filled),
                full_name: self.full_name.and_then(filled),
                age: self.age,
                role: self.role,
                is_active: self.is_active,
                language: self.language,
            }),
            _ => Err(errors),
        }
    }
}

/// Changes of an account, as they were asked for.
#[derive(Default)]
pub struct WantedChange {
    pub email: Patch<String>,
    pub username: Patch<String>,
    pub first_name: Patch<String>,
    pub last_name: Patch<String>,
    pub full_name: Patch<String>,
    pub age: Patch<i64>,
    pub role: Patch<Role>,
    pub is_active: Patch<bool>,
}

/// Changes of an account, checked against the rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountChange {
    /// The address, which can't be cleared.
    pub email: Option<EmailAddress>,
    /// The username, which can't be cleared.
    pub username: Option<Username>,
    /// Null or a blank one clears it.
    pub first_name: Patch<String>,
    /// Null or a blank one clears it.
    pub last_name: Patch<String>,
    /// Null or a blank one clears it.
    pub full_name: Patch<String>,
    /// Null clears it.
    pub age: Patch<i64>,
    /// For admins alone.
    pub role: Option<Role>,
    /// For admins alone.
    pub is_active: Option<bool>,
}

impl WantedChange {
    /// Checks the changes.
    ///
    /// # Errors
    /// Names every field that breaks a rule.
    pub fn check(self) -> Result<AccountChange, FieldErrors> {
        let mut errors = FieldErrors::default();
        let email = self.email.required("email", &mut errors);
        let email = email.and_then(|email| errors.take("email", EmailAddress::parse(&email)));
        let username = self.username.required("username", &mut errors);
        let username = username.and_then(|name| errors.take("username", Username::parse(&name)));
        for (field, name) in [
            ("first_name", &self.first_name),
            ("last_name", &self.last_name),
            ("full_name", &self.full_name),
        ] {
            if let Patch::Set(name) = name {
                check_name(field, name, &mut errors);
            }
        }
        if let Patch::Set(age) = self.age {
            check_age(age, &mut errors);
        }
        let role = self.role.required("role", &mut errors);
        let is_active = self.is_active.required("is_active", &mut errors);
        errors.into_result()?;
        Ok(AccountChange {
            email,
            username,
            first_name: self.first_name.filled(),
            last_name: self.last_name.filled(),
            full_name: self.full_name.filled(),
            age: self.age,
            role,
            is_active,
        })
    }
}

impl AccountChange {
    /// True if no field is named.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The fields that only an admin may change.
    pub fn of_admins(&self) -> impl Iterator<Item = &'static str> {
        let role = self.role.map(|_| "role");
        role.into_iter().chain(self.is_active.map(|_| "is_active"))
    }

    /// True if nobody may be an admin by this account after it.
    pub fn takes_admin(&self) -> bool {
        self.role.is_some_and(|role| role != Role::Admin) || self.is_active == Some(false)
    }
}

/// The name for an account at login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// The account's address.
    Email(String),
    Username(String),
    /// The account's number: of somebody who is logged in already.
    Id(i64),
}

impl Login {
    /// Makes a login from exactly one of the two; a blank text counts as none.
    ///
    /// # Errors
    /// When it has both or none.
    pub fn of(email: Option<String>, username: Option<String>) -> Result<Self, FieldErrors> {
        match (email.and_then(filled), username.and_then(filled)) {
            (Some(email), None) => Ok(Self::Email(email.trim().to_owned())),
            (None, Some(username)) => Ok(Self::Username(username)),
            (Some(_), Some(_)) => Err(FieldErrors::one(
                "username",
                "can't be given together with email",
            )),
            (None, None) => Err(FieldErrors::one("email", "or username is required")),
        }
    }
}

/// Checks whether the password in `field` may be tried. One too short for an account is tried like any other.
///
/// # Errors
/// When it is empty or too long.
pub fn check_attempt(field: &str, password: &str) -> Result<(), FieldErrors> {
    if password.is_empty() {
        return Err(FieldErrors::one(field, "must not be empty"));
    }
    if password.len() > *PASSWORD_BYTES.end() {
        let most = PASSWORD_BYTES.end();
        return Err(FieldErrors::one(
            field,
            format!("must have at most {most} bytes"),
        ));
    }
    Ok(())
}

/// Checks the length of a password that is to replace another.
///
/// # Errors
/// Names the field `new_password`.
pub fn check_new_password(password: &str) -> Result<(), FieldErrors> {
    let mut errors = FieldErrors::default();
    check_length("new_password", password, &mut errors);
    errors.into_result()
}

fn check_length(field: &str, password: &str, errors: &mut FieldErrors) {
    if !PASSWORD_BYTES.contains(&password.len()) {
        let (least, most) = (PASSWORD_BYTES.start(), PASSWORD_BYTES.end());
        errors.add(field, format!("must have {least} to {most} bytes"));
    }
}

fn check_name(field: &str, name: &str, errors: &mut FieldErrors) {
    if name.chars().count() > MAX_NAME {
        errors.add(field, format!("must have at most {MAX_NAME} characters"));
    }
}

fn check_age(age: i64, errors: &mut FieldErrors) {
    if !AGE.contains(&age) {
        errors.add(
            "age",
            format!("must be between {} and {}", AGE.start(), AGE.end()),
        );
    }
}

#[cfg(test)]
mod tests;
