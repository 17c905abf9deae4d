//! Forward-auth: what a gateway asks for each request.

use super::CLIENTS;
use crate::Plan;
use crate::client::{Ask, get, signed, with};
use crate::community::Community;
use crate::load::Load;
use crate::measure::{Measure, Target, in_turns};
use crate::server::Server;

pub async fn measure(plan: &Plan) -> anyhow::Result<Vec<Measure>> {
    let folder = plan.temp()?;
    let community = Community::start(plan, folder.path(), 1).await?;
    let empty = Server::limit(folder.path(), &["kit"]).await?;
    // The same headers for both: they are read either way.
    let as_gateway = |path: &str| -> anyhow::Result<Ask> {
        let ask = with(get(path)?, "x-forwarded-method", "GET");
        let ask = with(ask, "x-forwarded-uri", "/api/posts");
        signed(ask, &community.tokens[0])
    };
    let asked = Load::of([as_gateway("/api/auth/validate")?], CLIENTS);
    let asked_of_empty = Load::of([as_gateway("/")?], CLIENTS);
    let measure = in_turns(
        plan,
        "validate / empty handler in the kit",
        Target::Ratio(0.85),
        (&community.server, &asked),
        (&empty, &asked_of_empty),
    );
    Ok(vec![measure.await?])
}
