//! Errors of a store, in the two kinds that callers treat differently.

use blocks::consumer::HandlerError;
use blocks::error::BoxError;
use blocks::{AsProblem, Problem};
use http::StatusCode;

/// The reason why a read or a write did not happen.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is away, full or overloaded; the same call may succeed later.
    #[error("the database is unavailable")]
    Unavailable(#[source] BoxError),
    /// The database understood and refused: a constraint, or a mistake in our statement.
    #[error("the database refused the statement")]
    Rejected(#[source] BoxError),
    /// The event would not fit on its topic. Refused before the commit, so nothing was written.
    #[error("an event of {bytes} bytes does not fit on a topic, {limit} do")]
    EventTooLarge {
        /// The event's size.
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
    /// True if a second row has the same value in `table`'s unique `column`. The constraint keeps the name
    /// that PostgreSQL gives it: `<table>_<column>_key`.
    pub fn is_unique(&self, table: &str, column: &str) -> bool {
        let Self::Rejected(error) = self else {
            return false;
        };
        let Some(sqlx::Error::Database(error)) = error.downcast_ref() else {
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

    /// True if PostgreSQL gave up waiting for a lock.
    pub(crate) fn is_lock_timeout(&self) -> bool {
        let Self::Unavailable(error) = self else {
            return false;
        };
        matches!(error.downcast_ref(), Some(sqlx::Error::Database(error))
            if error.code().as_deref() == Some("55P03"))
    }

    /// True if a commit that failed so may be done: not where the database answered that it is not.
    ///
    /// PostgreSQL's classes 08 and 57 are the answers of a pooler that lost its server, and of a server on its
    /// way down. SQLite's IOERR may come after the frames were written.
    pub(crate) fn leaves_in_doubt(&self) -> bool {
        let Self::Unavailable(error) = self else {
            return false;
        };
        let Some(sqlx::Error::Database(error)) = error.downcast_ref() else {
            return true;
        };
        error.code().is_some_and(|code| in_doubt_code(&code))
    }

    /// Says that the store is away, for a reason of our own.
    pub(crate) fn unavailable(why: &'static str) -> Self {
        Self::Unavailable(why.into())
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if is_passing(&error) {
            Self::Unavailable(Box::new(error))
        } else {
            Self::Rejected(Box::new(error))
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

impl AsProblem for StoreError {
    fn problem(&self) -> Problem {
        match self {
            Self::Unavailable(_) => Problem::unavailable("store_unavailable").retry_after(1),
            Self::EventTooLarge { .. } => Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "event_too_large",
                "what this would publish is too large",
            ),
            // Trying again would not help.
            Self::Rejected(_) | Self::Json(_) | Self::Panicked => Problem::internal(),
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

/// True for codes of an outage, for which the statement is not to blame.
///
/// PostgreSQL: connection (08), refused password or name (28), transaction rollback (40), missing database
/// (3D), resources (53), operator (57), system (58), no longer a primary (25006), lock (55P03).
///
/// SQLite, in the low byte: BUSY 5, LOCKED 6, NOMEM 7, READONLY 8, INTERRUPT 9, IOERR 10, CORRUPT 11, FULL
/// 13, CANTOPEN 14, PROTOCOL 15, NOTADB 26. A broken file is an outage, too: no event is to blame for it.
fn passing_code(code: &str) -> bool {
    let by_class = ["08", "28", "3D", "40", "53", "57", "58"];
    if code.len() == 5 && (by_class.contains(&&code[..2]) || ["25006", "55P03"].contains(&code)) {
        return true;
    }
    code.parse::<i32>()
        .is_ok_and(|code| code < 10_000 && matches!(code & 0xff, 5..=11 | 13..=15 | 26))
}

fn in_doubt_code(code: &str) -> bool {
    if code.len() == 5 {
        return ["08", "57"].contains(&&code[..2]);
    }
    code.parse::<i32>().is_ok_and(|code| code & 0xff == 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_in_doubt_unless_the_database_answered_that_it_was_not_done() {
        for code in ["08006", "57P01", "57P02", "10", "1034"] {
            assert!(in_doubt_code(code), "{code}");
        }
        for code in ["40001", "23505", "53100", "5", "13", "2067"] {
            assert!(!in_doubt_code(code), "{code}");
        }
        let lost = || sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        assert!(StoreError::from(lost()).leaves_in_doubt());
        assert!(!StoreError::Rejected(lost().into()).leaves_in_doubt());
    }

    #[test]
    fn outages_are_told_from_refusals() {
        for code in [
            "08006", "28P01", "28000", "3D000", "40001", "57P01", "53300", "25006", "55P03", "5",
            "261", "13", "778", "11",
        ] {
            assert!(passing_code(code), "{code}");
        }
        for code in ["23505", "42601", "22001", "1", "19", "2067", "1555"] {
            assert!(!passing_code(code), "{code}");
        }
    }

    #[test]
    fn only_an_outage_is_worth_trying_again() {
        let large = StoreError::EventTooLarge { bytes: 2, limit: 1 };
        let cases = [
            (StoreError::unavailable("test"), 503, "store_unavailable"),
            (large, 413, "event_too_large"),
            (
                StoreError::Rejected(sqlx::Error::RowNotFound.into()),
                500,
                "internal_error",
            ),
            (StoreError::Panicked, 500, "internal_error"),
        ];
        for (error, status, code) in cases {
            let problem = error.problem();
            assert_eq!(
                (problem.status().as_u16(), problem.error_code()),
                (status, code)
            );
        }
    }
}
