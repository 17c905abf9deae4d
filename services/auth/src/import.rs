//! Accounts that come from elsewhere or go there: a line of JSON each, with the hash of the password as it is.
//!
//! `rookery users import` sends the lines in batches. A batch is one write, under a key that is made of everything
//! before it. So a batch that was sent twice is done once, and answered as the first time.

use blocks::FieldErrors;
use blocks::extract::{Whole, parse};
use blocks::{Problem, Role};
use chrono::{DateTime, Utc};
use events::timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::{Account, NewAccount, Registration};
use crate::imported_hash;

/// The longest line, in bytes.
pub const LINE_BYTES: usize = 16 << 10;
/// Most lines of a batch.
pub const BATCH_LINES: usize = 1_000;
/// Most bytes of a batch: so few that no escaping makes its JSON too large for a request.
pub const BATCH_BYTES: usize = 128 << 10;
/// Accounts of a part of the export.
pub const EXPORTED: i64 = 1_000;

/// An account as a line.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortableAccount {
    /// The mail address, unique whatever its case.
    pub email: String,
    /// The username, unique whatever its case. Without one it is made of the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Of bcrypt or argon2id. Nobody logs in to an account without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_name: Option<String>,
    /// In years.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<Whole>,
    /// `user` where it is absent.
    pub role: Option<Role>,
    /// True where it is absent.
    pub is_active: Option<bool>,
    /// False where it is absent.
    pub email_verified: Option<bool>,
    /// RFC 3339, not in the future; the time of the import where it is absent.
    pub created_at: Option<String>,
}

/// Some lines of an import, as at `POST /import`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Batch {
    /// The answer to the batch before, [`Imported::next`]; empty for the first one.
    pub after: String,
    /// The number of the first line in its file, from 1.
    pub first_line: u64,
    /// The lines. Blank ones are passed over.
    pub lines: String,
    /// True to check them only.
    pub dry_run: bool,
}

/// The outcome of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// Names this batch and all before it.
    pub next: String,
    /// The accounts that were opened.
    pub added: u64,
    /// The lines that were not, in their order: a line has an entry a field.
    pub refused: Vec<Refusal>,
}

/// The reason why a line makes no account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The number of the line in its file, from 1.
    pub line: u64,
    /// The field; `None` where it is about the whole line.
    pub field: Option<String>,
    /// The reason, as `is taken`.
    pub reason: String,
}

impl Refusal {
    /// The refusal of the whole line.
    pub fn of_line(line: u64, reason: impl Into<String>) -> Self {
        Self {
            line,
            field: None,
            reason: reason.into(),
        }
    }

    /// The refusal of a line that has the address or the name of another account.
    pub fn taken(line: u64, field: &str) -> Self {
        Self {
            line,
            field: Some(field.to_owned()),
            reason: "is taken".to_owned(),
        }
    }

    /// The refusal of a line over the limit.
    pub fn too_long(line: u64) -> Self {
        Self::of_line(line, format!("is longer than {LINE_BYTES} bytes"))
    }

    fn of_problem(line: u64, problem: &Problem) -> Vec<Self> {
        if problem.errors().is_empty() {
            let detail = problem.detail();
            let reason = detail.strip_prefix("the body ").unwrap_or(detail);
            return vec![Self::of_line(line, reason)];
        }
        Self::of_fields(line, problem.errors())
    }

    fn of_fields(line: u64, errors: &FieldErrors) -> Vec<Self> {
        let errors = errors.iter().map(|(field, messages)| Self {
            line,
            field: Some(field.to_owned()).filter(|field| field != "body"),
            reason: messages.join(" and "),
        });
        errors.collect()
    }
}

/// A part of all accounts, as at `GET /export`.
#[derive(Serialize, Deserialize)]
pub struct Exported {
    /// The accounts, by id.
    pub accounts: Vec<PortableAccount>,
    /// The id of the last one, after which the next part begins; `None` where there was none.
    pub next: Option<i64>,
}

/// A line that may become an account.
pub(crate) struct ImportedAccount {
    pub line: u64,
    pub new: NewAccount,
    pub password_hash: Option<String>,
    pub email_verified: bool,
    pub created_at: DateTime<Utc>,
}

impl Batch {
    /// Reads the lines: those that may become accounts by `now`, and those that may not.
    ///
    /// # Errors
    /// When there are more of them than a batch may have.
    pub(crate) fn read(
        &self,
        now: DateTime<Utc>,
    ) -> Result<(Vec<ImportedAccount>, Vec<Refusal>), FieldErrors> {
        if self.lines.len() > BATCH_BYTES || self.lines.lines().count() > BATCH_LINES {
            let most = format!("must be at most {BATCH_LINES}, of {BATCH_BYTES} bytes");
            return Err(FieldErrors::one("lines", most));
        }
        let (mut accounts, mut refused) = (Vec::new(), Vec::new());
        for (line, text) in (self.first_line..).zip(self.lines.lines()) {
            if text.trim().is_empty() {
                continue;
            }
            if text.len() > LINE_BYTES {
                refused.push(Refusal::too_long(line));
                continue;
            }
            let account: Result<PortableAccount, Problem> = parse(text.as_bytes());
            match account {
                Ok(account) => match account.check(line, now) {
                    Ok(account) => accounts.push(account),
                    Err(errors) => refused.extend(Refusal::of_fields(line, &errors)),
                },
                Err(problem) => refused.extend(Refusal::of_problem(line, &problem)),
            }
        }
        Ok((accounts, refused))
    }
}

impl PortableAccount {
    /// `account` with the hash of its password.
    pub(crate) fn of(account: Account, password_hash: Option<String>) -> Self {
        Self {
            email: account.email,
            username: Some(account.username),
            password_hash,
            first_name: account.first_name,
            last_name: account.last_name,
            full_name: account.full_name,
            age: account.age.map(Whole),
            role: Some(account.role),
            is_active: Some(account.is_active),
            email_verified: Some(account.email_verified),
            created_at: Some(timestamp(account.created_at)),
        }
    }

    fn check(self, line: u64, now: DateTime<Utc>) -> Result<ImportedAccount, FieldErrors> {
        let mut errors = FieldErrors::default();
        let created_at = self.created_at.as_deref();
        let created_at = created_at.map_or(Ok(now), |at| time(at, now));
        let created_at = errors.take("created_at", created_at).unwrap_or(now);
        if let Some(Err(why)) = self.password_hash.as_deref().map(imported_hash::check) {
            errors.add("password_hash", why);
        }
        let registration = Registration {
            username: self.username,
            first_name: self.first_name,
            last_name: self.last_name,
            full_name: self.full_name,
            age: self.age.map(|Whole(age)| age),
            role: self.role.unwrap_or(Role::User),
            is_active: self.is_active.unwrap_or(true),
            ..Registration::at(self.email)
        };
        match registration.check() {
            Ok(new) if errors.is_empty() => Ok(ImportedAccount {
                line,
                new,
                password_hash: self.password_hash,
                email_verified: self.email_verified.unwrap_or_default(),
                created_at,
            }),
            Ok(_) => Err(errors),
            Err(more) => {
                errors.merge(more);
                Err(errors)
            }
        }
    }
}

/// Whole milliseconds, as everywhere.
fn time(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
    let read = DateTime::parse_from_rfc3339(text).ok();
    let time = read.and_then(|time| DateTime::from_timestamp_millis(time.timestamp_millis()));
    match time {
        Some(time) if (DateTime::UNIX_EPOCH..=now).contains(&time) => Ok(time),
        Some(_) => Err("must be between 1970 and now".to_owned()),
        None => Err("is no RFC 3339 time, as 2026-01-31T12:00:00Z".to_owned()),
    }
}
