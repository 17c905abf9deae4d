//! Writing posts, at the service's own port, against the same server taking one document each.
//!
//! A post is one insert on the request's path. Meanwhile its event goes to Kafka and to the feed; later it is
//! taken out of the document, together with those of many others. The collection is empty at the start of
//! each comparison: the stack's MongoDB-wire server reads all of it for every list.

use anyhow::Context;
use hyper::StatusCode;
use mongodb::Client as Mongo;
use mongodb::bson::{Document, doc};

use super::{World, server};
use crate::client::{Ask, get, signed};
use crate::community::{TITLE, new_post, until};
use crate::limits;
use crate::load::Load;
use crate::measure::{Measure, Target, Turns};
use crate::scenarios::CLIENTS;

pub async fn measure(world: &World<'_>) -> anyhow::Result<Vec<Measure>> {
    let mongo = Mongo::with_uri_str(world.stack.value("MONGODB_URL").await?).await?;
    let mut measures = Vec::new();
    for (clients, who) in [(CLIENTS, "32 clients"), (1, "1 client")] {
        without_posts(world).await?;
        let what = format!("create post / insert_one, {who}");
        measures.push(compare(world, &mongo, what, clients).await?);
        let posts = mongo.database("posts").collection::<Document>("posts");
        #[expect(clippy::cast_precision_loss, reason = "some thousands")]
        let written = posts.count_documents(doc! {}).await? as f64;
        let what = format!("posts in the collection after it, {who}");
        measures.push(Measure::alone(what, "", written, Target::Open));
    }
    mongo.shutdown().await;
    Ok(measures)
}

/// Begins again with no posts.
pub async fn without_posts(world: &World<'_>) -> anyhow::Result<()> {
    world.stack.run(&["stop", "posts"]).await?;
    let mongo = Mongo::with_uri_str(world.stack.value("MONGODB_URL").await?).await?;
    mongo.database("posts").drop().await?;
    mongo.shutdown().await;
    world.stack.run(&["start", "posts"]).await.map(drop)
}

async fn compare(
    world: &World<'_>,
    mongo: &Mongo,
    what: String,
    clients: usize,
) -> anyhow::Result<Measure> {
    let plan = world.plan;
    let posts = server(world.stack, "posts").await?;
    let url = world.stack.value("MONGODB_URL").await?;
    let (mut subject, mut limit) = <(Turns, Turns)>::default();
    for _ in 0..plan.turns {
        let load = Load::writes(asks(world).await?, clients);
        subject.ask(plan, &posts, &load).await?;
        settled(mongo).await?;
        mongo.database(limits::mongo::DATABASE).drop().await?;
        let arguments = ["insert", "--url", &url];
        limit.add(&limits::run(plan, &arguments, clients).await?, None)?;
    }
    Ok(Measure::rates(what, &subject, &limit, Target::Ratio(0.4)))
}

/// Posts that are all alike, by each account in turn, as Traefik passes them on: with an identity assertion
/// of auth, which holds for half a minute at least.
async fn asks(world: &World<'_>) -> anyhow::Result<Vec<Ask>> {
    let mut auth = server(world.stack, "auth").await?.connect().await?;
    let mut asks = Vec::with_capacity(world.tokens.len());
    for token in &world.tokens {
        let validate = signed(get("/api/auth/validate")?, token)?;
        let said = auth.expect(&validate, StatusCode::OK).await?;
        let identity = said.headers().get("x-identity");
        let identity = identity.context("auth vouches for nobody")?.clone();
        let mut ask = new_post(TITLE)?;
        ask.headers_mut().insert("x-identity", identity);
        asks.push(ask);
    }
    Ok(asks)
}

/// Waits until every event is published and taken out of its document: work under way must not disturb the
/// other side.
async fn settled(mongo: &Mongo) -> anyhow::Result<()> {
    let posts = mongo.database("posts").collection::<Document>("posts");
    until("no event waits in the posts", async || {
        let waiting = posts.find_one(doc! {"pending.0.id": {"$gt": ""}}).await?;
        Ok(waiting.is_none())
    })
    .await
}
