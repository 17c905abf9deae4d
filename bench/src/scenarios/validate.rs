//! Forward-auth: what a gateway asks for each request.

use std::path::Path;

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
    let measure = beside_empty(plan, folder.path(), &community.server, &community.tokens[0]);
    Ok(vec![measure.await?])
}

/// The question that a gateway asks of `server` for each request, beside an empty handler in the kit.
pub async fn beside_empty(
    plan: &Plan,
    folder: &Path,
    server: &Server,
    token: &str,
) -> anyhow::Result<Measure> {
    let empty = Server::limit(folder, &["kit"]).await?;
    // The same headers for both: they are read either way.
    let as_gateway = |path: &str| -> anyhow::Result<Ask> {
        let ask = with(get(path)?, "x-forwarded-method", "GET");
        let ask = with(ask, "x-forwarded-uri", "/api/posts");
        signed(ask, token)
    };
    let asked = Load::of([as_gateway("/api/auth/validate")?], CLIENTS);
    let asked_of_empty = Load::of([as_gateway("/")?], CLIENTS);
    let measure = in_turns(
        plan,
        "validate / empty handler in the kit",
        Target::Ratio(0.85),
        (server, &asked),
        (&empty, &asked_of_empty),
    );
    measure.await
}
