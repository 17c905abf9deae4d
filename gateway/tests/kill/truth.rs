//! What the server says after a restart, held against what clients were told.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Client, Gone};
use crate::people::{Person, Post, Said, Writer};

/// What must follow has followed by then.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How much the streams show.
const LATEST: usize = 1000;
const LATEST_OF_USER: usize = 100;

/// Everything acknowledged is there; what was cut off is found out.
pub async fn settle(client: &Client, writers: &mut [Writer]) {
    let mut standing = posts(client).await;
    for writer in writers {
        for person in &mut writer.people {
            let mut took_place = usize::from(account(client, person).await);
            took_place += usize::from(profile(client, person).await);
            for (name, post) in &mut person.posts {
                let seen = standing.remove(name);
                took_place += usize::from(settle_post(name, post, seen.as_ref()));
                if std::mem::take(&mut post.touched) {
                    by_id(client, post).await;
                }
            }
            writer.count.took_place += took_place;
        }
        writer.people.retain(|person| person.registered.sure);
    }
    assert!(standing.is_empty(), "nobody wrote these: {standing:?}");
}

/// All posts by the names that the writers gave them.
async fn posts(client: &Client) -> HashMap<String, Value> {
    let listed = client.all("/api/posts", "id").await;
    let page = client.get("/api/posts?limit=1", None).await.expect(200);
    assert_eq!(page["total"], json!(listed.len()), "the list counts wrong");
    let mut posts = HashMap::new();
    for item in listed {
        let name = Said::of(&item).post().to_owned();
        let other = posts.insert(name, item);
        assert!(other.is_none(), "published twice: {other:?}");
    }
    posts
}

fn settle_post(name: &str, post: &mut Post, seen: Option<&Value>) -> bool {
    let took_place = post.state.settle(seen.map(Said::of), name);
    if took_place {
        post.changes += 1;
    }
    if let Some(seen) = seen {
        let id = seen["id"].as_str().unwrap();
        assert_eq!(post.id.get_or_insert_with(|| id.to_owned()), id);
    }
    took_place
}

/// The post by its id says what the list says: the two are answered in different ways.
async fn by_id(client: &Client, post: &Post) {
    let Some(id) = &post.id else {
        return;
    };
    let answer = client.get(&format!("/api/posts/{id}"), None).await;
    match &post.state.sure {
        Some(said) => assert_eq!(Said::of(&answer.expect(200)), *said),
        None => assert_eq!(answer.expect(404)["error_code"], "post_not_found"),
    }
}

/// Every post ever published, by its id.
pub async fn every_post_by_its_id(client: &Client, writers: &[Writer]) {
    for post in everybody(writers).flat_map(|person| person.posts.values()) {
        by_id(client, post).await;
    }
}

/// Whether the account exists, and whether tokens from before the kill still hold.
async fn account(client: &Client, person: &mut Person) -> bool {
    let mut took_place = false;
    if person.registered.maybe.is_some() {
        let answer = person.ask_login(client).await;
        let exists = answer
            .unwrap_or_else(|Gone| panic!("the server is gone"))
            .status
            == 200;
        took_place = person.registered.settle(exists, &person.name);
    }
    if !person.registered.sure {
        return false;
    }
    if person.token.is_none() {
        let done = person.login(client).await;
        done.unwrap_or_else(|Gone| panic!("the server is gone"));
    }
    let me = client.get("/api/auth/me", person.token.as_deref()).await;
    let me = me.expect(200);
    assert_eq!(me["username"], person.name.as_str());
    if took_place {
        person.id = me["id"].as_i64().unwrap();
    }
    assert_eq!(me["id"], person.id);
    took_place
}

async fn profile(client: &Client, person: &mut Person) -> bool {
    if !person.registered.sure {
        return false;
    }
    let answer = client.get("/api/profile", person.token.as_deref()).await;
    let bio = match answer.status.as_u16() {
        404 => None,
        _ => Some(answer.expect(200)["bio"].as_str().unwrap().to_owned()),
    };
    person.bio.settle(bio, &person.name)
}

/// The feed comes to what the list of posts gives, everybody to one welcome.
pub async fn feed_and_inboxes_agree(client: &Client, writers: &[Writer]) {
    let listed = client.all("/api/posts", "id").await;
    let entry = |item: &Value, id: &str| {
        let fields = [id, "user_id", "username", "title", "content", "tags"];
        fields.map(|field| item[field].clone())
    };
    let expected = |most: usize, of: Option<i64>| -> Vec<_> {
        let theirs = listed
            .iter()
            .filter(|post| of.is_none_or(|user| post["user_id"] == user));
        theirs.take(most).map(|post| entry(post, "id")).collect()
    };
    let streams = everybody(writers).map(|person| {
        let path = format!("/api/activity-stream/user/{}", person.id);
        (path, expected(LATEST_OF_USER, Some(person.id)))
    });
    let global = ("/api/activity-stream".to_owned(), expected(LATEST, None));
    let end = Instant::now() + PATIENCE;
    for (stream, expected) in streams.chain([global]) {
        loop {
            let items = client.all(&stream, "post_id").await;
            let shown: Vec<_> = items.iter().map(|item| entry(item, "post_id")).collect();
            if shown == expected {
                break;
            }
            if Instant::now() > end {
                let (missing, surplus) = (without(&expected, &shown), without(&shown, &expected));
                panic!("{stream}: missing {missing:?}, too much {surplus:?}, or in another order");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    for person in everybody(writers) {
        one_welcome(client, person, end).await;
    }
}

fn without<T: PartialEq + Clone>(all: &[T], some: &[T]) -> Vec<T> {
    let rest = all.iter().filter(|item| !some.contains(item));
    rest.cloned().collect()
}

async fn one_welcome(client: &Client, person: &Person, end: Instant) {
    loop {
        let answer = client
            .get("/api/notifications", person.token.as_deref())
            .await;
        let inbox = answer.expect(200);
        let kinds: Vec<_> = inbox["items"].as_array().unwrap().iter().collect();
        assert!(
            kinds.len() <= 1,
            "{} is welcomed twice: {inbox}",
            person.name
        );
        if kinds.len() == 1 {
            assert_eq!(kinds[0]["kind"], "welcome");
            return;
        }
        assert!(Instant::now() < end, "nobody welcomes {}", person.name);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// All accounts.
pub fn everybody(writers: &[Writer]) -> impl Iterator<Item = &Person> {
    writers.iter().flat_map(|writer| &writer.people)
}
