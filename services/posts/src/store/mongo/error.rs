//! Tells failures that pass by themselves from others.

use blocks::error::BoxError;
use mongodb::bson::Document;
use mongodb::error::{Error, ErrorKind, WriteFailure};
use sql::StoreError;

/// A second document with the same value where an index allows one.
const DUPLICATE: i32 = 11_000;
/// Codes of a server that is not the primary, was stopped, took too long, or failed by itself (1).
/// 18 is a wrong password, which is not the caller's fault. 10334 and 17419 mean that a document
/// has become too large: its events have waited too long.
const PASSING: [i32; 24] = [
    1, 6, 7, 18, 50, 64, 89, 91, 112, 134, 189, 202, 262, 317, 9001, 10_058, 10_107, 10_334,
    11_600, 11_602, 13_435, 13_436, 17_419, 17_420,
];

/// Maps a driver's error to the store's.
pub(super) fn failed(error: Error) -> StoreError {
    if passes(&error) {
        StoreError::Unavailable(Box::new(Failure(error)))
    } else {
        StoreError::Rejected(Box::new(Failure(error)))
    }
}

/// An error's text for the log: the driver prints whole structures, each time in another order.
#[derive(Debug, thiserror::Error)]
#[error("{}", in_words(.0))]
pub(super) struct Failure(pub(super) Error);

fn in_words(error: &Error) -> String {
    match &*error.kind {
        ErrorKind::ServerSelection { message, .. } => no_server(message),
        kind => kind.to_string(),
    }
}

/// Finds in the topology of a failed server selection why the first server can't be used.
fn no_server(message: &str) -> String {
    let reason = message.split_once("Error: Kind: ").map(|(_, rest)| rest);
    let reason = reason.and_then(|rest| rest.split(", labels").next());
    // The driver shows this for a silent server only sometimes.
    let reason = reason.filter(|reason| *reason != "I/O error: timed out");
    format!("no server can be used: {}", reason.unwrap_or("no answer"))
}

/// True if a unique index refused a second document with the same value.
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

/// True if a write that failed so may be done: its answer was lost, or it is not known to be durable.
pub(super) fn leaves_in_doubt(error: &StoreError) -> bool {
    let StoreError::Unavailable(error) = error else {
        return false;
    };
    let kind = error.downcast_ref::<Failure>();
    let kind = kind.map(|Failure(error)| &*error.kind);
    // Of these the server heard nothing.
    !matches!(
        kind,
        Some(
            ErrorKind::ServerSelection { .. }
                | ErrorKind::ConnectionPoolCleared { .. }
                | ErrorKind::DnsResolve { .. }
                | ErrorKind::Authentication { .. }
                | ErrorKind::Shutdown
        )
    )
}

/// The first failure among the statements of an `update` command.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_in_doubt_unless_the_server_never_heard_of_it() {
        let lost = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert!(leaves_in_doubt(&failed(lost.into())));
        let unheard = Error::from(ErrorKind::Shutdown);
        assert!(!leaves_in_doubt(&failed(unheard)));
        let refused = StoreError::Rejected("a duplicate".into());
        assert!(!leaves_in_doubt(&refused));
    }

    #[test]
    fn of_a_topology_only_the_reason_is_told() {
        let refused = "Server selection timeout: No available servers. Topology: { Type: Unknown, \
            Servers: [ { Address: db:27017, Type: Unknown, Error: Kind: I/O error: Connection refused \
            (os error 111), labels: {\"RetryableError\"}, source: None } ] }, labels: {}";
        assert_eq!(
            no_server(refused),
            "no server can be used: I/O error: Connection refused (os error 111)"
        );
        let silent = "Server selection timeout: No available servers. Topology: { Type: Unknown, \
            Servers: [ { Address: db:27017, Type: Unknown } ] }";
        assert_eq!(no_server(silent), "no server can be used: no answer");
    }
}
