//! A rookery with people in it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use blocks::{Clock, SystemClock};
use events::posts::PostCreated;
use events::{Context, Envelope, Message};
use hyper::StatusCode;
use serde_json::json;

use crate::Plan;
use crate::client::{Ask, Client, get, post, signed};
use crate::server::Server;

/// The title of posts that are all alike.
pub const TITLE: &str = "Rooks nest together";
/// A text of the length that posts have.
pub const CONTENT: &str = "A rookery is a colony of rooks, high up in old trees, used year after \
    year. The birds come back in late winter, mend what the storms left of their nests, steal a \
    twig from a neighbour when nobody looks, and talk about it all day long. Who walks below at \
    dusk hears hundreds of them settle. Nobody knows who decides where they sleep, yet they all \
    know. When one finds food, the others see it fly off with a full crop, and follow it the next \
    morning. It is not clear whether that is generosity, or just that a secret is hard to keep in a \
    colony.";
/// The tags of these posts.
pub const TAGS: [&str; 3] = ["birds", "nature", "colony"];

/// The longest wait until a write shows for everybody, and has left nothing to do.
const PATIENCE: Duration = Duration::from_mins(2);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A rookery with some accounts.
pub struct Community {
    pub server: Server,
    /// One token for each account.
    pub tokens: Vec<String>,
}

impl Community {
    /// Starts a rookery over `folder` and registers that many accounts.
    pub async fn start(plan: &Plan, folder: &Path, accounts: usize) -> anyhow::Result<Self> {
        let server = Server::rookery(plan, folder).await?;
        let mut client = server.connect().await?;
        let mut tokens = Vec::with_capacity(accounts);
        for number in 0..accounts {
            tokens.push(join(&mut client, number).await?);
        }
        Ok(Self { server, tokens })
    }

    /// Posts that are all alike, by each account in turn.
    pub fn posts(&self) -> anyhow::Result<Vec<Ask>> {
        let tokens = self.tokens.iter();
        tokens
            .map(|token| signed(new_post(TITLE)?, token))
            .collect()
    }

    /// Writes that many posts and returns their ids.
    pub async fn write(&self, posts: usize) -> anyhow::Result<Vec<String>> {
        let mut client = self.server.connect().await?;
        let asks = self.posts()?;
        let mut ids = Vec::with_capacity(posts);
        for ask in asks.iter().cycle().take(posts) {
            let post = client.json(ask, StatusCode::CREATED).await?;
            let id = post["id"].as_str().context("a post has no id")?;
            ids.push(id.to_owned());
        }
        Ok(ids)
    }

    /// Waits until everything that was written has reached the feed: a last post has come after all
    /// others, and nothing is left to apply.
    pub async fn settle(&self) -> anyhow::Result<()> {
        let last = self.write(1).await?.remove(0);
        let mut client = self.server.connect().await?;
        let feed = get("/api/activity-stream")?;
        until("the last post is in the feed", async || {
            let page = client.expect(&feed, StatusCode::OK).await?;
            Ok(contains(page.body(), &last))
        })
        .await?;
        caught_up(&mut client).await
    }
}

/// Waits until the feed has read everything.
pub async fn caught_up(client: &mut Client) -> anyhow::Result<()> {
    let stats = get("/api/activity-stream/stats")?;
    until("the feed has caught up", async || {
        let stats = client.json(&stats, StatusCode::OK).await?;
        Ok(stats["consumer_lag"].as_i64() == Some(0))
    })
    .await
}

/// A post to be written.
pub fn new_post(title: &str) -> anyhow::Result<Ask> {
    let body = json!({ "title": title, "content": CONTENT, "tags": TAGS });
    post("/api/posts", &body)
}

/// The event of such a post by `author`.
pub fn post_created(author: i64) -> PostCreated {
    PostCreated {
        post_id: SystemClock.id(),
        user_id: author,
        username: format!("rook-{author}"),
        title: TITLE.into(),
        content: CONTENT.into(),
        tags: TAGS.map(String::from).into(),
        created_at: SystemClock.now(),
    }
}

/// That event as a message for the bus.
pub fn message(author: i64) -> anyhow::Result<Message> {
    let (event, context) = (post_created(author), Context::default());
    let id = SystemClock.id();
    let envelope = Envelope::new(id, "posts", event.created_at, 1, context, &event)?;
    Ok(envelope.message())
}

/// Opens an account and logs in: its token.
pub async fn join(client: &mut Client, number: usize) -> anyhow::Result<String> {
    let username = format!("rook-{number}");
    let password = "a quiet colony at dusk";
    let account = json!({
        "email": format!("{username}@example.org"), "username": username, "password": password,
    });
    let register = post("/api/auth/register", &account)?;
    client.expect(&register, StatusCode::CREATED).await?;
    let credentials = json!({ "username": username, "password": password });
    let login = post("/api/auth/login", &credentials)?;
    let tokens = client.json(&login, StatusCode::OK).await?;
    let token = tokens["access_token"].as_str();
    Ok(token.context("a login gave no access_token")?.to_owned())
}

/// Asks until the answer is yes.
pub async fn until(
    what: &str,
    mut holds: impl AsyncFnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let end = Instant::now() + PATIENCE;
    while !holds().await? {
        anyhow::ensure!(Instant::now() < end, "waited in vain until {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// True if `page` contains `text`, byte for byte.
pub fn contains(page: &[u8], text: &str) -> bool {
    page.windows(text.len())
        .any(|window| window == text.as_bytes())
}
