//! Which failures pass by themselves.

use blocks::error::BoxError;
use mongodb::bson::Document;
use mongodb::error::{Error, ErrorKind, WriteFailure};
use sql::StoreError;

/// A second document with the same value where an index allows one.
const DUPLICATE: i32 = 11_000;
/// The server is not, no longer or not yet the one to ask, was stopped, took too long, or failed by
/// itself: 1 is its own fault, not the statement's. 18 is a wrong password: nobody's who asks.
/// 10334 and 17419 say that a document has become too large: its events have waited for too long.
const PASSING: [i32; 24] = [
    1, 6, 7, 18, 50, 64, 89, 91, 112, 134, 189, 202, 262, 317, 9001, 10_058, 10_107, 10_334,
    11_600, 11_602, 13_435, 13_436, 17_419, 17_420,
];

/// What a failure is to whoever asked.
pub(super) fn failed(error: Error) -> StoreError {
    if passes(&error) {
        StoreError::Unavailable(Box::new(error))
    } else {
        StoreError::Rejected(Box::new(error))
    }
}

/// Whether it is a second document with the same value where there can be one.
pub(super) fn is_duplicate(error: &Error) -> bool {
    match &*error.kind {
        ErrorKind::Write(WriteFailure::WriteError(error)) => error.code == DUPLICATE,
        ErrorKind::Command(error) => error.code == DUPLICATE,
        ErrorKind::InsertMany(error) => {
            error.write_concern_error.is_none()
                && error.write_errors.as_ref().is_some_and(|errors| {
                    !errors.is_empty() && errors.iter().all(|error| error.code == DUPLICATE)
                })
        }
        _ => false,
    }
}

fn passes(error: &Error) -> bool {
    match &*error.kind {
        ErrorKind::Command(error) => PASSING.contains(&error.code),
        ErrorKind::Write(WriteFailure::WriteError(error)) => PASSING.contains(&error.code),
        ErrorKind::InsertMany(error) => {
            let mut errors = error.write_errors.iter().flatten();
            error.write_concern_error.is_some() || errors.all(|e| PASSING.contains(&e.code))
        }
        // Written, but not known to be durable; or not known at all.
        ErrorKind::Write(_)
        | ErrorKind::Io(_)
        | ErrorKind::ServerSelection { .. }
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::DnsResolve { .. }
        | ErrorKind::Authentication { .. }
        | ErrorKind::InvalidResponse { .. }
        | ErrorKind::Shutdown => true,
        _ => false,
    }
}

/// What went wrong with the statements of an `update` command.
pub(super) fn of_statements(answer: &Document) -> Option<StoreError> {
    if let Ok(concern) = answer.get_document("writeConcernError") {
        return Some(StoreError::Unavailable(concern.to_string().into()));
    }
    let errors = answer.get_array("writeErrors").ok()?;
    let first = errors.first()?.as_document()?;
    let why: BoxError = first.to_string().into();
    let passing = first
        .get_i32("code")
        .is_ok_and(|code| PASSING.contains(&code));
    Some(if passing {
        StoreError::Unavailable(why)
    } else {
        StoreError::Rejected(why)
    })
}
