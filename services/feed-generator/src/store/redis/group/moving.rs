//! What is needed of a group by whoever moves one here.

pub(in super::super) use super::keys::{Block, Key};

use blocks::error::BoxError;

use super::super::words::Words;
use super::Group;

impl Group {
    /// Does what `words` say, whatever else happened meanwhile: for a group that nobody runs yet.
    pub(in super::super) async fn say(&self, words: Words) -> Result<(), BoxError> {
        self.run(&[], words).await.map(drop)
    }
}
