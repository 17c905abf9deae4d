//! Forward-auth: the question of a gateway for each request.

use std::fmt::Write;
use std::path::Path;

use anyhow::Context;
use hyper::StatusCode;

use super::CLIENTS;
use crate::Plan;
use crate::client::{Ask, get, signed, with};
use crate::community::Community;
use crate::load::Load;
use crate::measure::{Measure, Target, in_turns};
use crate::server::Server;

/// The headers with the caller's identity.
const IDENTITY: [&str; 5] = [
    "x-user-id",
    "x-user-name",
    "x-user-email",
    "x-user-role",
    "x-identity",
];

pub async fn measure(plan: &Plan) -> anyhow::Result<Vec<Measure>> {
    let folder = plan.temp()?;
    let community = Community::start(plan, folder.path(), 1).await?;
    beside_empty(plan, folder.path(), &community.server, &community.tokens[0]).await
}

/// The question that a gateway asks of `server` for each request. Beside it are an empty handler in the kit,
/// and one that answers with the same headers and knows nobody.
pub async fn beside_empty(
    plan: &Plan,
    folder: &Path,
    server: &Server,
    token: &str,
) -> anyhow::Result<Vec<Measure>> {
    // The same headers for all: they are read either way.
    let as_gateway = |path: &str| -> anyhow::Result<Ask> {
        let ask = with(get(path)?, "x-forwarded-method", "GET");
        let ask = with(ask, "x-forwarded-uri", "/api/posts");
        signed(ask, token)
    };
    let ask = as_gateway("/api/auth/validate")?;
    let said = server.connect().await?.expect(&ask, StatusCode::OK).await?;
    let mut lines = String::new();
    for (name, value) in said.headers() {
        if IDENTITY.contains(&name.as_str()) {
            writeln!(lines, "{name}: {}", value.to_str()?)?;
        }
    }
    let file = folder.join("headers");
    std::fs::write(&file, lines)?;
    let file = file.to_str().context("a folder's name is no text")?;
    let empty = Server::limit(folder, &["kit"]).await?;
    let knows_nobody = Server::limit(folder, &["kit", "--headers", file]).await?;
    let asked = Load::of([ask], CLIENTS);
    let asked_of_limit = Load::of([as_gateway("/")?], CLIENTS);
    let mut measures = Vec::new();
    for (what, target, limit) in [
        (
            "validate / empty handler in the kit",
            Target::Ratio(0.85),
            &empty,
        ),
        (
            "validate / handler in the kit with the same headers",
            Target::Open,
            &knows_nobody,
        ),
    ] {
        let (subject, limit) = ((server, &asked), (limit, &asked_of_limit));
        measures.push(in_turns(plan, what, target, subject, limit).await?);
    }
    Ok(measures)
}
