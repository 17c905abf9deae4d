//! Access to a group for a data migration into it.

pub(in super::super) use super::keys::{Block, Key};

use blocks::error::BoxError;

use super::super::args::Args;
use super::Group;

impl Group {
    /// Runs `words` without checks: for a group that nobody runs yet.
    pub(in super::super) async fn write(&self, args: Args) -> Result<(), BoxError> {
        self.run(&[], args).await.map(drop)
    }
}
