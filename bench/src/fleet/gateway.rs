//! Through Traefik: a route that requires a token, in front of a service that does next to nothing.
//! Auth is the stack's, and the service checks who auth says it is, as all do.

use super::World;
use super::edge::Edge;
use crate::client::{get, signed};
use crate::load::Load;
use crate::measure::{Measure, Target, in_turns};
use crate::scenarios::CLIENTS;
use crate::server::Server;

pub async fn measure(world: &World<'_>) -> anyhow::Result<Vec<Measure>> {
    let plan = world.plan;
    let folder = plan.temp()?;
    let auth_url = &world.stack.value("AUTH_URL").await?;
    let path = "/api/profile";
    let service = ["service", "--path", path, "--auth-url", auth_url];
    let service = Server::limit(folder.path(), &service).await?;
    let ours = Edge::ours(plan, world.stack, auth_url, &service).await?;
    let (auth, handler) = (
        Server::limit(folder.path(), &["bare"]).await?,
        Server::limit(folder.path(), &["bare"]).await?,
    );
    let bare = Edge::bare(plan, &auth, &handler).await?;
    let observed = Edge::observed(plan, &auth, &handler).await?;
    let before_bare = Edge::ours(plan, world.stack, &auth.url(), &handler).await?;
    let token = &world.tokens[0];
    let asked = Load::of([signed(get(path)?, token)?], CLIENTS);
    let asked_of_bare = Load::of([signed(get("/")?, token)?], CLIENTS);
    let mut measures = Vec::new();
    for (what, target, (limit, asked_of_limit)) in [
        (
            "through Traefik / bare Traefik, auth and handler",
            Target::Ratio(0.9),
            (&bare, &asked_of_bare),
        ),
        (
            "through Traefik / the same with log, metrics and traces",
            Target::Open,
            (&observed, &asked_of_bare),
        ),
        (
            "through Traefik / this Traefik, bare auth and handler",
            Target::Open,
            (&before_bare, &asked),
        ),
    ] {
        let (subject, limit) = ((&ours.server, &asked), (&limit.server, asked_of_limit));
        measures.push(in_turns(plan, what, target, subject, limit).await?);
    }
    Ok(measures)
}
