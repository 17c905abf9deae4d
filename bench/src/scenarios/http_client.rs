//! The HTTP client, beside reqwest alone: both ask the same empty handler over connections that are kept.

use anyhow::ensure;
use blocks::metrics::Metrics;
use http_client::{Client, Settings};

use super::CLIENTS;
use crate::Plan;
use crate::load::repeat;
use crate::measure::{Measure, Target, Turns};
use crate::server::Server;

pub async fn measure(plan: &Plan) -> anyhow::Result<Vec<Measure>> {
    let folder = plan.temp()?;
    let server = Server::limit(folder.path(), &["bare"]).await?;
    let url = server.url();
    let ours = Client::new(Settings::new("bench", &url), &Metrics::new())?;
    // It asks for a provider even where nothing is encrypted. One may be installed by an earlier run.
    let ring = rustls::crypto::ring::default_provider();
    ring.install_default().ok();
    let bare = reqwest::Client::builder().no_proxy().build()?;
    let bare = (bare, format!("{url}/"));
    let (mut of_ours, mut of_bare) = (Turns::default(), Turns::default());
    for _ in 0..plan.turns {
        let workers = vec![ours.clone(); CLIENTS];
        let step = |client: Client| async move {
            let answer = client.get("/").send().await?.success()?;
            ensure!(answer.body.is_empty(), "the handler is empty");
            Ok(client)
        };
        let answers = repeat(workers, plan.warm_up, plan.turn, step);
        of_ours.add(&answers.await?, None)?;
        let workers = vec![bare.clone(); CLIENTS];
        let step = |(client, url): (reqwest::Client, String)| async move {
            let answer = client.get(&url).send().await?.error_for_status()?;
            ensure!(answer.bytes().await?.is_empty(), "the handler is empty");
            Ok((client, url))
        };
        let answers = repeat(workers, plan.warm_up, plan.turn, step);
        of_bare.add(&answers.await?, None)?;
    }
    let what = "HTTP client / reqwest alone, 32 callers";
    Ok(vec![Measure::rates(
        what,
        &of_ours,
        &of_bare,
        Target::Ratio(0.8),
    )])
}
