//! Forward-auth at auth's own port.

use super::World;
use crate::client::{Ask, get, signed, with};
use crate::load::Load;
use crate::measure::{Measure, Target, in_turns};
use crate::scenarios::CLIENTS;
use crate::server::Server;

pub async fn measure(world: &mut World<'_>) -> anyhow::Result<Vec<Measure>> {
    let plan = world.plan;
    let folder = plan.temp()?;
    let auth = world.stack.server("auth")?;
    let empty = Server::limit(folder.path(), &["kit"]).await?;
    // The same headers for both: they are read either way.
    let as_gateway = |path: &str| -> anyhow::Result<Ask> {
        let ask = with(get(path)?, "x-forwarded-method", "GET");
        let ask = with(ask, "x-forwarded-uri", "/api/posts");
        signed(ask, &world.tokens[0])
    };
    let asked = Load::of([as_gateway("/api/auth/validate")?], CLIENTS);
    let asked_of_empty = Load::of([as_gateway("/")?], CLIENTS);
    let measure = in_turns(
        plan,
        "validate / empty handler in the kit",
        Target::Ratio(0.85),
        (&auth, &asked),
        (&empty, &asked_of_empty),
    );
    Ok(vec![measure.await?])
}
