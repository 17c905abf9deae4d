//! Accounts and the rules for names, addresses and passwords. No I/O.

use blocks::extract::{Patch, filled};
use blocks::{FieldErrors, Role};
use chrono::{DateTime, Utc};

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

/// The fields of an account to open.
#[derive(Clone)]
pub struct NewAccount {
    /// The mail address, unique whatever its case.
    pub email: String,
    /// The username, unique whatever its case.
    pub username: String,
    /// The password: 8 to 1,024 bytes, all of which count.
    pub password: String,
    /// The full name: up to 200 characters.
    pub full_name: Option<String>,
    /// The age in years, 0 to 150.
    pub age: Option<i64>,
}

impl NewAccount {
    /// Checks and normalises the fields: no blanks around the address, no blank name.
    ///
    /// # Errors
    /// Names every field that breaks a rule.
    pub fn check(mut self) -> Result<Self, FieldErrors> {
        let mut errors = FieldErrors::default();
        self.email = self.email.trim().into();
        check_email(&self.email, &mut errors);
        check_username(&self.username, &mut errors);
        if !PASSWORD_BYTES.contains(&self.password.len()) {
            let (least, most) = (PASSWORD_BYTES.start(), PASSWORD_BYTES.end());
            errors.add("password", format!("must have {least} to {most} bytes"));
        }
        if let Some(name) = &self.full_name {
            check_full_name(name, &mut errors);
        }
        self.full_name = self.full_name.and_then(filled);
        if let Some(age) = self.age {
            check_age(age, &mut errors);
        }
        errors.into_result().map(|()| self)
    }
}

/// The owner's changes of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountChange {
    /// The username, which can't be cleared.
    pub username: Option<String>,
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
        if let Some(name) = &username {
            check_username(name, &mut errors);
        }
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

fn check_username(name: &str, errors: &mut FieldErrors) {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if !USERNAME.contains(&name.len()) || !name.bytes().all(allowed) {
        let (least, most) = (USERNAME.start(), USERNAME.end());
        errors.add(
            "username",
            format!("must have {least} to {most} letters (a to z), digits, '_', '.' or '-'"),
        );
    }
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

fn check_email(email: &str, errors: &mut FieldErrors) {
    if !is_email(email) {
        errors.add("email", "is not an e-mail address");
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
mod tests {
    use super::*;

    fn complaints(errors: &FieldErrors) -> Vec<&str> {
        errors.iter().map(|(field, _)| field).collect()
    }

    fn new(email: &str, username: &str, password: &str) -> NewAccount {
        NewAccount {
            email: email.into(),
            username: username.into(),
            password: password.into(),
            full_name: None,
            age: None,
        }
    }

    #[test]
    fn addresses_that_mail_could_go_to_are_taken_and_others_are_not() {
        let local = "l".repeat(64);
        let label = "d".repeat(63);
        for good in [
            "ada@example.org",
            "Ada.Lovelace+tag@mail.example.co.uk",
            "o'neill@example.org",
            "1@2.de",
            &format!("{local}@{label}.org"),
        ] {
            assert!(is_email(good), "{good}");
        }
        let long = format!("a@{label}.{label}.{label}.{label}.org");
        for bad in [
            "",
            "@",
            "ada",
            "ada@",
            "@example.org",
            "ada@localhost",
            "ada@@example.org",
            "a b@example.org",
            "ada@exa mple.org",
            ".ada@example.org",
            "ada.@example.org",
            "a..b@example.org",
            "ada@.org",
            "ada@example.",
            "ada@-x.org",
            "ada@x-.org",
            "ada@example.org ",
            " ada@example.org",
            "ada@example.org\r\nBcc: x@y.z",
            "ädä@example.org",
            "ada@exämple.org",
            "\"ada\"@example.org",
            "ada@[127.0.0.1]",
            &format!("{local}l@example.org"),
            &format!("ada@{label}d.org"),
            &long,
        ] {
            assert!(!is_email(bad), "{bad:?}");
        }
    }

    #[test]
    fn the_limits_of_an_account_are_inside_and_one_more_is_outside() {
        let email = "ada@example.org";
        for (name, good) in [
            ("ada", true),
            ("ad", false),
            (&*"a".repeat(32), true),
            (&"a".repeat(33), false),
            ("A_d.a-1", true),
            ("ada lovelace", false),
            ("ädä", false),
            ("ada\n", false),
            ("", false),
        ] {
            assert_eq!(
                new(email, name, "12345678").check().is_ok(),
                good,
                "{name:?}"
            );
        }
        for (password, good) in [
            ("1234567", false),
            ("12345678", true),
            (&*"ä".repeat(4), true),
            (&"p".repeat(1024), true),
            (&"p".repeat(1025), false),
        ] {
            assert_eq!(
                new(email, "ada", password).check().is_ok(),
                good,
                "{}",
                password.len()
            );
        }
        for (age, good) in [
            (0, true),
            (150, true),
            (-1, false),
            (151, false),
            (i64::MAX, false),
        ] {
            let account = NewAccount {
                age: Some(age),
                ..new(email, "ada", "12345678")
            };
            assert_eq!(account.check().is_ok(), good, "{age}");
        }
        for (name, good) in [
            (&*"ä".repeat(200), true),
            (&"ä".repeat(201), false),
            ("", true),
        ] {
            let account = NewAccount {
                full_name: Some(name.into()),
                ..new(email, "ada", "12345678")
            };
            assert_eq!(account.check().is_ok(), good, "{name:?}");
        }
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let account = NewAccount {
            full_name: Some("x".repeat(201)),
            age: Some(-1),
            ..new("nowhere", "a", "short")
        };
        let errors = account.check().err().unwrap();
        assert_eq!(
            complaints(&errors),
            ["age", "email", "full_name", "password", "username"]
        );
        let errors =
            AccountChange::check(Patch::Null, Patch::Set("x".repeat(201)), Patch::Set(151))
                .unwrap_err();
        assert_eq!(complaints(&errors), ["age", "full_name", "username"]);
        assert!(
            AccountChange::check(Patch::Absent, Patch::Absent, Patch::Absent)
                .unwrap()
                .is_empty()
        );
        assert!(
            !AccountChange::check(Patch::Absent, Patch::Null, Patch::Absent)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn blanks_around_an_address_are_dropped_and_a_blank_name_is_none() {
        let account = NewAccount {
            full_name: Some(" \t".into()),
            ..new(" ada@example.org\r\n", "ada", "12345678")
        };
        let account = account.check().unwrap();
        assert_eq!(
            (&*account.email, account.full_name),
            ("ada@example.org", None)
        );
        let change = AccountChange::check(Patch::Absent, Patch::Set(" ".into()), Patch::Absent);
        assert_eq!(change.unwrap().full_name, Patch::Null);
    }

    #[test]
    fn a_login_names_exactly_one_account() {
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            Login::of(text("a"), None).unwrap(),
            Login::Email("a".into())
        );
        assert_eq!(
            Login::of(None, text("b")).unwrap(),
            Login::Username("b".into())
        );
        assert_eq!(
            Login::of(text("\ta "), text("")).unwrap(),
            Login::Email("a".into())
        );
        assert!(Login::of(text("a"), text("b")).is_err());
        assert!(Login::of(text(" "), text("")).is_err());
        assert!(Login::of(None, None).is_err());
        assert!(check_attempt("").is_err() && check_attempt(&"p".repeat(1025)).is_err());
        assert!(check_attempt("p").is_ok());
    }
}
