//! Access to a group for a data migration into it.

pub(in super::super) use super::keys::{Block, Key};

use blocks::error::BoxError;

use super::super::words::Words;
use super::Group;

impl Group {
    /// Runs `words` without checks: for a group that nobody runs yet.
    pub(in super::super) async fn say(&self, words: Words) -> Result<(), BoxError> {
        self.run(&[], words).await.map(drop)
    }
}
