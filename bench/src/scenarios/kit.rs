//! The kit: log, trace, metrics, request id, time-out and limits around a handler that does nothing.

use super::CLIENTS;
use crate::Plan;
use crate::client::get;
use crate::load::Load;
use crate::measure::{Measure, Target, in_turns};
use crate::server::Server;

pub async fn measure(plan: &Plan) -> anyhow::Result<Vec<Measure>> {
    let folder = plan.temp()?;
    let kit = Server::limit(folder.path(), &["kit"]).await?;
    let bare = Server::limit(folder.path(), &["bare"]).await?;
    let load = Load::of([get("/")?], CLIENTS);
    let measure = in_turns(
        plan,
        "empty handler: kit / bare axum",
        Target::Ratio(0.65),
        (&kit, &load),
        (&bare, &load),
    );
    Ok(vec![measure.await?])
}
