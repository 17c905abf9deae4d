//! Errors that cross a port.

use std::any::Any;

/// A cause that somebody else understands.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An error and its causes on one line, for a log line or a dead letter. A cause that the error before it
/// already quotes is not repeated.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = inner.source();
    }
    text
}

/// The message of a panic.
pub fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<Layer>>);

    #[test]
    fn what_a_layer_repeats_of_its_cause_is_said_once() {
        let refused = Layer("connection refused", None);
        let database = Layer("database: connection refused", Some(Box::new(refused)));
        let store = Layer("the store is away", Some(Box::new(database)));
        assert_eq!(
            chain(&store),
            "the store is away: database: connection refused"
        );
    }
}
