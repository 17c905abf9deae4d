//! The arguments of scripts.

/// The arguments of a script, in its order.
#[derive(Debug, Default)]
pub struct Args(Vec<Vec<u8>>);

impl Args {
    pub fn push(&mut self, argument: impl Into<Vec<u8>>) -> &mut Self {
        self.0.push(argument.into());
        self
    }

    /// Adds the argument `number` as text.
    pub fn number(&mut self, number: i64) -> &mut Self {
        self.push(number.to_string())
    }

    /// True if there are no arguments.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds all arguments of `more`.
    pub fn append(&mut self, mut more: Self) {
        self.0.append(&mut more.0);
    }

    pub(super) fn as_slice(&self) -> &[Vec<u8>] {
        &self.0
    }
}
