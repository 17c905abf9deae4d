//! Accounts and the rules for names, addresses and passwords. No I/O.

use blocks::extract::{Patch, filled};
use blocks::{FieldErrors, Role};
use chrono::{DateTime, Utc};
use uuid::Uuid;

const USERNAME: std::ops::RangeInclusive<usize> = 3..=32;
const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 8..=1024;
const AGE: std::ops::RangeInclusive<i64> = 0..=150;
const MAX_FULL_NAME: usize = 200;
/// The longest address that fits in a mail command (RFC 5321).
const MAX_EMAIL: usize = 254;
const MAX_LOCAL_PART: usize = 64;
const MAX_LABEL: usize = 63;

/// An account as it is stored, without its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The account's number, never used twice.
    pub id: i64,
    /// The address, as its owner writes it.
    pub email: String,
    /// The username, as its owner writes it.
    pub username: String,
    /// The full name, as its owner writes it.
    pub full_name: Option<String>,
    /// The age in years.
    pub age: Option<i64>,
    /// The role, which says what it may do.
    pub role: Role,
    /// When the account was opened.
    pub created_at: DateTime<Utc>,
    /// When a name or the age last changed.
    pub updated_at: DateTime<Utc>,
}

/// What happened to an account.
#[derive(Debug, Clone, Copy)]
pub enum AccountEvent<'a> {
    Opened(&'a Account),
    Changed(&'a Account),
    LoggedIn { user_id: i64, session: Uuid },
    SessionEnded { user_id: i64, session: Uuid },
}

/// An address that mail could go to, unique whatever its case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailAddress(String);

impl EmailAddress {
    /// Reads an address, without the blanks around it.
    ///
    /// # Errors
    /// Says what it is not.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if is_email(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err("is not an e-mail address".to_owned())
        }
    }

    /// As its owner writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A username, unique whatever its case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Username(String);

impl Username {
    /// Reads a name.
    ///
    /// # Errors
    /// Says what names are made of.
    pub fn parse(text: &str) -> Result<Self, String> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if USERNAME.contains(&text.len()) && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        let (least, most) = (USERNAME.start(), USERNAME.end());
        Err(format!(
            "must have {least} to {most} letters (a to z), digits, '_', '.' or '-'"
        ))
    }

    /// As its owner writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A request for an account, not yet checked.
#[derive(Clone)]
pub struct Registration {
    pub email: String,
    pub username: String,
    /// The password: 8 to 1,024 bytes, all of which count.
    pub password: String,
    /// The full name: up to 200 characters.
    pub full_name: Option<String>,
    /// The age in years, 0 to 150.
    pub age: Option<i64>,
}

/// An account to open, checked against the rules.
#[derive(Clone)]
pub struct NewAccount {
    pub email: EmailAddress,
    pub username: Username,
    pub password: String,
    pub full_name: Option<String>,
    pub age: Option<i64>,
}

impl Registration {
    /// Checks and normalises the fields: no blanks around the address, no blank name.
    ///
    /// # Errors
    /// Names every field that breaks a rule.
    pub fn check(self) -> Result<NewAccount, FieldErrors> {
        let mut errors = FieldErrors::default();
        let email = errors.take("email", EmailAddress::parse(&self.email));
        let username = errors.take("username", Username::parse(&self.username));
        if !PASSWORD_BYTES.contains(&self.password.len()) {
            let (least, most) = (PASSWORD_BYTES.start(), PASSWORD_BYTES.end());
            errors.add("password", format!("must have {least} to {most} bytes"));
        }
        if let Some(name) = &self.full_name {
            check_full_name(name, &mut errors);
        }
        if let Some(age) = self.age {
            check_age(age, &mut errors);
        }
        match (email, username) {
            (Some(email), Some(username)) if errors.is_empty() => Ok(NewAccount {
                email,
                username,
                password: self.password,
                full_name: self.full_name.and_then(filled),
                age: self.age,
            }),
            _ => Err(errors),
        }
    }
}

/// The owner's changes of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountChange {
    /// The username, which can't be cleared.
    pub username: Option<Username>,
    /// The full name; null or a blank one clears it.
    pub full_name: Patch<String>,
    /// The age; null clears it.
    pub age: Patch<i64>,
}

impl AccountChange {
    /// Checks requested changes.
    ///
    /// # Errors
    /// Names every field that breaks a rule.
    pub fn check(
        username: Patch<String>,
        full_name: Patch<String>,
        age: Patch<i64>,
    ) -> Result<Self, FieldErrors> {
        let mut errors = FieldErrors::default();
        let username = username.required("username", &mut errors);
        let username = username.and_then(|name| errors.take("username", Username::parse(&name)));
        if let Patch::Set(name) = &full_name {
            check_full_name(name, &mut errors);
        }
        if let Patch::Set(age) = age {
            check_age(age, &mut errors);
        }
        errors.into_result()?;
        Ok(Self {
            username,
            full_name: full_name.filled(),
            age,
        })
    }

    /// True if no field is named.
    pub fn is_empty(&self) -> bool {
        self.username.is_none() && self.full_name.is_absent() && self.age.is_absent()
    }
}

/// The name for an account at login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// The account's address.
    Email(String),
    Username(String),
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

/// Checks whether a password may be tried. One too short for an account is tried like any other.
///
/// # Errors
/// When it is empty or too long.
pub fn check_attempt(password: &str) -> Result<(), FieldErrors> {
    if password.is_empty() {
        return Err(FieldErrors::one("password", "must not be empty"));
    }
    if password.len() > *PASSWORD_BYTES.end() {
        let most = PASSWORD_BYTES.end();
        return Err(FieldErrors::one(
            "password",
            format!("must have at most {most} bytes"),
        ));
    }
    Ok(())
}

/// The form in which an address or a name is unique.
pub fn key(text: &str) -> String {
    text.to_ascii_lowercase()
}

fn check_full_name(name: &str, errors: &mut FieldErrors) {
    if name.chars().count() > MAX_FULL_NAME {
        errors.add(
            "full_name",
            format!("must have at most {MAX_FULL_NAME} characters"),
        );
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

/// True if mail could go there: `local@domain` in ASCII, without quoting and comments, and with a
/// dot in the domain. Only a mail shows whether it arrives.
fn is_email(email: &str) -> bool {
    let Some((local, domain)) = email.rsplit_once('@') else {
        return false;
    };
    let atom = |part: &str| {
        let allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~-".contains(&byte);
        !part.is_empty() && part.bytes().all(allowed)
    };
    let label = |part: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !part.is_empty()
            && part.len() <= MAX_LABEL
            && part.bytes().all(allowed)
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    email.len() <= MAX_EMAIL
        && local.len() <= MAX_LOCAL_PART
        && local.split('.').all(atom)
        && domain.contains('.')
        && domain.split('.').all(label)
}

#[cfg(test)]
mod tests;
