//! Writing posts, at the service's own port, against the same server taking one document each.
//!
//! A post is one insert on the request's path. Meanwhile its event goes to Kafka and to the feed; later it is
//! taken out of the document, together with those of many others. The collection is empty at the start of
//! each comparison: the stack's MongoDB-wire server reads all of it for every list.

use std::time::Duration;

use anyhow::Context;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use mongodb::Client as Mongo;
use mongodb::bson::{Document, doc};

use super::{World, server};
use crate::client::{Ask, get, signed};
use crate::community::{TITLE, new_post, until_within};
use crate::limits;
use crate::load::Load;
use crate::measure::{Measure, Target, Turns};
use crate::scenarios::CLIENTS;

/// The longest wait until every event is published and taken out of its document.
const PATIENCE: Duration = Duration::from_mins(2);

pub async fn measure(world: &mut World<'_>) -> anyhow::Result<Vec<Measure>> {
    let mongo = Mongo::with_uri_str(world.stack.value("MONGODB_URL").await?).await?;
    let many = "create post / insert_one, 32 clients";
    let one = "create post / insert_one, 1 client";
    let mut measures = Vec::new();
    let after_many = "posts in the collection after it, 32 clients";
    let after_one = "posts in the collection after it, 1 client";
    for (what, clients, after) in [(many, CLIENTS, after_many), (one, 1, after_one)] {
        without_posts(world).await?;
        measures.push(compare(world, &mongo, what, clients).await?);
        let posts = mongo.database("posts").collection::<Document>("posts");
        #[expect(clippy::cast_precision_loss, reason = "some thousands")]
        let written = posts.count_documents(doc! {}).await? as f64;
        measures.push(Measure::alone(after, "", written, Target::Open));
    }
    mongo.shutdown().await;
    Ok(measures)
}

/// Begins again with no posts.
pub async fn without_posts(world: &mut World<'_>) -> anyhow::Result<()> {
    world.stack.run(&["stop", "posts"]).await?;
    let mongo = Mongo::with_uri_str(world.stack.value("MONGODB_URL").await?).await?;
    mongo.database("posts").drop().await?;
    mongo.shutdown().await;
    world.stack.run(&["start", "posts"]).await.map(drop)
}

async fn compare(
    world: &World<'_>,
    mongo: &Mongo,
    what: &'static str,
    clients: usize,
) -> anyhow::Result<Measure> {
    let plan = world.plan;
    let posts = server(world.stack, "posts").await?;
    let url = world.stack.value("MONGODB_URL").await?;
    let (mut subject, mut limit) = <(Turns, Turns)>::default();
    for _ in 0..plan.turns {
        let load = Load {
            expected: StatusCode::CREATED,
            ..Load::of(asks(world).await?, clients)
        };
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
        let said = auth.headers(&validate, StatusCode::OK).await?;
        let identity: &HeaderValue = said.get("x-identity").context("auth vouches for nobody")?;
        let mut ask = new_post(TITLE)?;
        ask.headers_mut().insert("x-identity", identity.clone());
        asks.push(ask);
    }
    Ok(asks)
}

/// Waits until every event is published and taken out of its document: what is still under way must
/// not disturb the other side.
async fn settled(mongo: &Mongo) -> anyhow::Result<()> {
    let posts = mongo.database("posts").collection::<Document>("posts");
    until_within(PATIENCE, "no event waits in the posts", async || {
        let waiting = posts.find_one(doc! {"pending.0.id": {"$gt": ""}}).await?;
        Ok(waiting.is_none())
    })
    .await
}
