//! Errors that cross a port.

/// A cause that somebody else understands.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An error and its causes on one line, for a log line or a dead letter.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
