//! Compares the services' final state with the answers that clients got.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::{Client, Gone};
use super::people::{Person, Post, Said, Writer};

/// Time by which all effects of a write must show.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Number of posts that the streams show.
const LATEST: usize = 1000;
const LATEST_OF_USER: usize = 100;

/// Asserts acknowledged writes, and finds out the outcome of unanswered ones.
pub async fn settle(client: &Client, writers: &mut [Writer]) {
    let community = writers[0].habits.community;
    let mut standing = posts(client, community).await;
    for writer in writers {
        for person in &mut writer.people {
            let mut took_place = account(client, person).await;
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

/// All posts of a community by the names that the writers gave them.
async fn posts(client: &Client, community: &str) -> HashMap<String, Value> {
    let list = format!("/api/posts?tag={community}");
    let listed = client.all(&list, "id").await;
    let page = client.get(&format!("{list}&limit=1"), None).await;
    let total = page.expect(200)["total"].take();
    assert_eq!(total, json!(listed.len()), "the list counts wrong");
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

/// Asserts that the post by its id equals the one in the list: the two are answered in different ways.
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

/// Checks whether the account exists, its name, and that earlier tokens still hold. Answers how many writes
/// had taken place.
async fn account(client: &Client, person: &mut Person) -> usize {
    let mut took_place = false;
    if person.registered.maybe.is_some() {
        let answer = person.ask_login(client).await;
        let exists = answer
            .unwrap_or_else(|Gone| panic!("the server is gone"))
            .status
            == 200;
        took_place = person.registered.settle(exists, &person.label);
    }
    if !person.registered.sure {
        return 0;
    }
    if person.token.is_none() {
        let done = person.login(client).await;
        done.unwrap_or_else(|Gone| panic!("the server is gone"));
    }
    let me = client.get("/api/auth/me", person.token.as_deref()).await;
    let me = me.expect(200);
    if took_place {
        person.id = me["id"].as_i64().unwrap();
    }
    assert_eq!(me["id"], person.id);
    let name = me["username"].as_str().unwrap().to_owned();
    let is_renamed = person.name.settle(name, &person.label);
    usize::from(took_place) + usize::from(is_renamed)
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
    person.bio.settle(bio, &person.label)
}

/// Waits until posts carry their authors' names, the feed equals the list of posts, and everybody has one
/// welcome.
pub async fn feed_and_inboxes_agree(client: &Client, writers: &[Writer]) {
    let end = Instant::now() + PATIENCE;
    let listed = with_names_of_now(client, writers, end).await;
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

/// All posts, when those of the writers carry the names that their authors have now.
async fn with_names_of_now(client: &Client, writers: &[Writer], end: Instant) -> Vec<Value> {
    let names: HashMap<i64, &str> = everybody(writers)
        .map(|person| (person.id, person.name.sure.as_str()))
        .collect();
    loop {
        let listed = client.all("/api/posts", "id").await;
        let old: Vec<_> = listed
            .iter()
            .filter(|post| {
                let name = names.get(&post["user_id"].as_i64().unwrap());
                name.is_some_and(|name| post["username"] != *name)
            })
            .collect();
        if old.is_empty() {
            return listed;
        }
        assert!(Instant::now() < end, "under an old name: {old:?}");
        tokio::time::sleep(LOOK_EVERY).await;
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
            person.label
        );
        if kinds.len() == 1 {
            assert_eq!(kinds[0]["kind"], "welcome");
            return;
        }
        assert!(Instant::now() < end, "nobody welcomes {}", person.label);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// All accounts.
pub fn everybody(writers: &[Writer]) -> impl Iterator<Item = &Person> {
    writers.iter().flat_map(|writer| &writer.people)
}
