//! What can go wrong in a store, in the two kinds that callers treat differently.

use blocks::consumer::HandlerError;
use blocks::error::BoxError;

/// Why a read or a write did not happen.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is away, full or overloaded; the same call may succeed later.
    #[error("the database is unavailable")]
    Unavailable(#[source] BoxError),
    /// The database understood and refused: a constraint, or a mistake in our statement.
    #[error("the database refused the statement")]
    Rejected(#[source] sqlx::Error),
    /// The event would not fit on its topic. Refused before the commit, so nothing was written.
    #[error("an event of {bytes} bytes does not fit on a topic, {limit} do")]
    EventTooLarge {
        /// Its size.
        bytes: usize,
        /// The most that fits.
        limit: usize,
    },
    /// An event can't be written as JSON.
    #[error("an event can't be written as JSON")]
    Json(#[from] serde_json::Error),
    /// The closure that was to write panicked; nothing of it was written.
    #[error("the write panicked")]
    Panicked,
}

impl StoreError {
    /// Whether it is a second row with the same value in `table`'s unique `column`. The constraint
    /// keeps the name that PostgreSQL gives it: `<table>_<column>_key`.
    pub fn is_unique(&self, table: &str, column: &str) -> bool {
        let Self::Rejected(sqlx::Error::Database(error)) = self else {
            return false;
        };
        if !error.is_unique_violation() {
            return false;
        }
        match error.constraint() {
            Some(name) => name == format!("{table}_{column}_key"),
            // SQLite says "UNIQUE constraint failed: users.email_key".
            None => error.message().ends_with(&format!(": {table}.{column}")),
        }
    }

    /// Says that the store is away, for a reason of our own.
    pub(crate) fn away(why: &'static str) -> Self {
        Self::Unavailable(why.into())
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if is_passing(&error) {
            Self::Unavailable(Box::new(error))
        } else {
            Self::Rejected(error)
        }
    }
}

impl From<StoreError> for HandlerError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(cause) => Self::Unavailable(cause),
            other => Self::Rejected(Box::new(other)),
        }
    }
}

fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| passing_code(code.as_ref()))
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

/// PostgreSQL: connection (08), transaction rollback (40), resources (53), operator (57), system
/// (58). SQLite: BUSY 5, LOCKED 6, READONLY 8, IOERR 10, FULL 13, CANTOPEN 14, in the low byte.
fn passing_code(code: &str) -> bool {
    if code.len() == 5 && ["08", "40", "53", "57", "58"].contains(&&code[..2]) {
        return true;
    }
    code.parse::<i32>()
        .is_ok_and(|code| code < 10_000 && matches!(code & 0xff, 5 | 6 | 8 | 10 | 13 | 14))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outages_are_told_from_refusals() {
        for code in ["08006", "40001", "57P01", "53300", "5", "261", "13", "778"] {
            assert!(passing_code(code), "{code}");
        }
        for code in ["23505", "42601", "22001", "1", "19", "2067", "1555"] {
            assert!(!passing_code(code), "{code}");
        }
    }
}
