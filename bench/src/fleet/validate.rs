//! Forward-auth at auth's own port.

use super::{World, server};
use crate::measure::Measure;
use crate::scenarios::validate::beside_empty;

pub async fn measure(world: &World<'_>) -> anyhow::Result<Vec<Measure>> {
    let folder = world.plan.temp()?;
    let auth = server(world.stack, "auth").await?;
    beside_empty(world.plan, folder.path(), &auth, &world.tokens[0]).await
}
