//! Clients that write, with the answers they got.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rand::Rng;
use rand::seq::IteratorRandom;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::client::{Client, Gone};
use crate::http::Answer;

const PASSWORD: &str = "correct horse battery staple";
/// Pause before a writer tries something else when nobody answers.
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// Settings that the writers of a community share.
#[derive(Debug, Clone, Copy)]
pub struct Habits {
    /// The community's name: it begins every name and is on every post, to tell their writes from others.
    pub community: &'static str,
    /// Number of accounts that a writer opens. Registering and logging in hash a password each.
    pub accounts: usize,
    /// Pause of a writer after each write.
    pub pause: Duration,
}

/// A written value: the one that is sure, and the one it may have by a write that was under way at a kill.
#[derive(Debug, Clone, Default)]
pub struct Known<T> {
    /// The acknowledged value.
    pub sure: T,
    /// The value requested without an answer.
    pub maybe: Option<T>,
}

impl<T: Clone + PartialEq + std::fmt::Debug> Known<T> {
    /// The write to `new` was acknowledged.
    fn acknowledged(&mut self, new: T) {
        self.sure = new;
        self.maybe = None;
    }

    /// Asserts that the actual value is a possible one; it is sure from then on. Answers whether a write
    /// that was under way had taken place.
    #[track_caller]
    pub fn settle(&mut self, seen: T, what: &str) -> bool {
        if seen == self.sure {
            self.maybe = None;
            return false;
        }
        assert_eq!(
            Some(&seen),
            self.maybe.as_ref(),
            "{what}: acknowledged was {:?}",
            self.sure
        );
        self.acknowledged(seen);
        true
    }
}

/// The content of a post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Begins with the name under which the writer knows the post.
    pub title: String,
    /// The text.
    pub content: String,
    /// The first is the community.
    pub tags: Vec<String>,
}

impl Said {
    fn new(community: &str, post: &str, edition: u32) -> Self {
        Self {
            title: format!("{post} edition {edition}"),
            content: format!("<p>{edition} & {post}</p>\n").repeat(3),
            tags: vec![community.to_owned(), format!("e{edition}")],
        }
    }

    fn json(&self) -> Value {
        json!({"title": self.title, "content": self.content, "tags": self.tags})
    }

    /// Reads it from the list or the feed.
    pub fn of(item: &Value) -> Self {
        Self {
            title: item["title"].as_str().unwrap().to_owned(),
            content: item["content"].as_str().unwrap().to_owned(),
            tags: serde_json::from_value(item["tags"].clone()).unwrap(),
        }
    }

    /// The name under which the writer knows the post.
    pub fn post(&self) -> &str {
        self.title.split_once(' ').unwrap().0
    }
}

/// A post, from the first attempt to publish it.
#[derive(Debug, Clone, Default)]
pub struct Post {
    /// Unknown while the answer to its creation is.
    pub id: Option<String>,
    /// Absent before it is created and after it is deleted.
    pub state: Known<Option<Said>>,
    /// Number of changes that took place, which is the number of events.
    pub changes: i64,
    edition: u32,
    /// True if it was written to since the last check.
    pub touched: bool,
}

/// An account.
#[derive(Debug, Clone)]
pub struct Person {
    /// The writer's label for them, whatever their name is.
    pub label: String,
    /// Changes now and then.
    pub name: Known<String>,
    /// Zero while the answer to the registration is unknown.
    pub id: i64,
    /// True if the account exists.
    pub registered: Known<bool>,
    /// Absent where the answer to the login is.
    pub token: Option<String>,
    /// The profile's text, where there is one.
    pub bio: Known<Option<String>>,
    /// By the names under which the writer knows them.
    pub posts: BTreeMap<String, Post>,
    community: &'static str,
    written: usize,
}

/// Numbers of writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Writes with an answer.
    pub acknowledged: usize,
    /// Writes without an answer.
    pub cut_off: usize,
    /// Those without an answer that took place. Logins are not among them: nobody can tell.
    pub took_place: usize,
}

impl fmt::Display for Count {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} writes acknowledged, {} cut off, of which {} took place",
            self.acknowledged, self.cut_off, self.took_place
        )
    }
}

/// A client with its accounts, that writes one thing after the other.
#[derive(Debug, Clone)]
pub struct Writer {
    /// The settings that all writers share.
    pub habits: Habits,
    number: usize,
    opened: usize,
    /// Their accounts.
    pub people: Vec<Person>,
    /// The outcomes of their writes.
    pub count: Count,
}

/// The writes of all of them.
pub fn count(writers: &[Writer]) -> Count {
    writers.iter().fold(Count::default(), |all, writer| Count {
        acknowledged: all.acknowledged + writer.count.acknowledged,
        cut_off: all.cut_off + writer.count.cut_off,
        took_place: all.took_place + writer.count.took_place,
    })
}

impl Writer {
    /// The writer `number` of a community.
    pub fn new(habits: Habits, number: usize) -> Self {
        Self {
            habits,
            number,
            opened: 0,
            people: Vec::new(),
            count: Count::default(),
        }
    }

    /// Writes until nobody answers.
    pub async fn work_until_gone(mut self, client: Client) -> Self {
        while self.step(&client).await.is_ok() {}
        self
    }

    /// Writes until it is told to stop. After a write without an answer it goes on with something else,
    /// which may be answered.
    pub async fn work(mut self, client: Client, stop: CancellationToken) -> Self {
        while !stop.is_cancelled() {
            let pause = match self.step(&client).await {
                Ok(()) => self.habits.pause,
                Err(Gone) => self.habits.pause.max(TRY_AGAIN),
            };
            tokio::time::sleep(pause).await;
        }
        self
    }

    /// Writes one thing.
    async fn step(&mut self, client: &Client) -> Result<(), Gone> {
        let is_first = !self.people.iter().any(|person| person.registered.sure);
        let is_room = self.people.len() < self.habits.accounts;
        let done = if is_first || (is_room && rand::rng().random_ratio(1, 30)) {
            self.register(client).await
        } else {
            self.write(client).await
        };
        match done {
            Ok(()) => self.count.acknowledged += 1,
            Err(Gone) => self.count.cut_off += 1,
        }
        done
    }

    async fn register(&mut self, client: &Client) -> Result<(), Gone> {
        self.opened += 1;
        let community = self.habits.community;
        let label = format!("{community}-w{}-{}", self.number, self.opened);
        self.people.push(Person {
            name: Known {
                sure: label.clone(),
                maybe: None,
            },
            label,
            id: 0,
            registered: Known {
                sure: false,
                maybe: Some(true),
            },
            token: None,
            bio: Known::default(),
            posts: BTreeMap::new(),
            community,
            written: 0,
        });
        let person = self.people.last_mut().expect("just pushed");
        let new = json!({
            "email": format!("{}@example.org", person.label),
            "username": person.name.sure,
            "password": PASSWORD,
        });
        let answer = client
            .send("POST", "/api/auth/register", None, Some(&new))
            .await?;
        person.id = answer.expect(201)["id"].as_i64().unwrap();
        person.registered.acknowledged(true);
        Ok(())
    }

    async fn write(&mut self, client: &Client) -> Result<(), Gone> {
        let people = self.people.iter_mut();
        let registered = people.filter(|person| person.registered.sure);
        let person = registered.choose(&mut rand::rng());
        let person = person.expect("somebody is registered first");
        if person.token.is_none() {
            return person.login(client).await;
        }
        let what = rand::rng().random_range(0..100);
        match what {
            0..8 if person.bio.maybe.is_none() => person.describe(client).await,
            8..11 if person.name.maybe.is_none() => person.rename(client).await,
            0..55 => person.publish(client).await,
            55..82 => person.edit(client).await,
            _ => person.delete(client).await,
        }
    }
}

impl Person {
    /// Logs in.
    ///
    /// # Errors
    /// When no answer came.
    pub async fn login(&mut self, client: &Client) -> Result<(), Gone> {
        let answer = self.ask_login(client).await?;
        self.token = Some(
            answer.expect(200)["access_token"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
        Ok(())
    }

    /// Asks whether they may log in, and so whether the account exists.
    ///
    /// # Errors
    /// When no answer came.
    pub async fn ask_login(&self, client: &Client) -> Result<Answer, Gone> {
        let login = json!({"username": self.name.sure, "password": PASSWORD});
        client
            .send("POST", "/api/auth/login", None, Some(&login))
            .await
    }

    async fn send(
        &self,
        client: &Client,
        method: &str,
        path: &str,
        json: Option<&Value>,
    ) -> Result<Answer, Gone> {
        client.send(method, path, self.token.as_deref(), json).await
    }

    async fn describe(&mut self, client: &Client) -> Result<(), Gone> {
        self.written += 1;
        let bio = Some(format!("{}, take {}", self.label, self.written));
        let (method, status) = match self.bio.sure {
            None => ("POST", 201),
            Some(_) => ("PUT", 200),
        };
        self.bio.maybe = Some(bio.clone());
        let profile = json!({"bio": bio});
        let answer = self
            .send(client, method, "/api/profile", Some(&profile))
            .await?;
        answer.expect(status);
        self.bio.acknowledged(bio);
        Ok(())
    }

    async fn rename(&mut self, client: &Client) -> Result<(), Gone> {
        self.written += 1;
        let name = format!("{}.{}", self.label, self.written);
        self.name.maybe = Some(name.clone());
        let change = json!({"username": name});
        let answer = self
            .send(client, "PUT", "/api/auth/me", Some(&change))
            .await?;
        assert_eq!(answer.expect(200)["username"], name.as_str());
        self.name.acknowledged(name);
        Ok(())
    }

    async fn publish(&mut self, client: &Client) -> Result<(), Gone> {
        self.written += 1;
        let name = format!("{}-{}", self.label, self.written);
        let said = Said::new(self.community, &name, 1);
        let post = Post {
            state: Known {
                sure: None,
                maybe: Some(Some(said.clone())),
            },
            edition: 1,
            touched: true,
            ..Post::default()
        };
        self.posts.insert(name.clone(), post);
        let new = said.json();
        let answer = self.send(client, "POST", "/api/posts", Some(&new)).await?;
        let mut created = answer.expect(201);
        assert_eq!(Said::of(&created), said);
        let Value::String(id) = created["id"].take() else {
            panic!("no id in {created}");
        };
        let post = self.posts.get_mut(&name).expect("just inserted");
        post.id = Some(id);
        post.took_place(Some(said));
        Ok(())
    }

    async fn edit(&mut self, client: &Client) -> Result<(), Gone> {
        let Some((name, id)) = self.any_post() else {
            return self.publish(client).await;
        };
        let post = self.posts.get_mut(&name).expect("it was chosen among them");
        post.edition += 1;
        post.touched = true;
        let said = Said::new(self.community, &name, post.edition);
        post.state.maybe = Some(Some(said.clone()));
        let (path, new) = (format!("/api/posts/{id}"), said.json());
        let answer = self.send(client, "PUT", &path, Some(&new)).await?;
        assert_eq!(Said::of(&answer.expect(200)), said);
        let post = self.posts.get_mut(&name).expect("it was chosen among them");
        post.took_place(Some(said));
        Ok(())
    }

    async fn delete(&mut self, client: &Client) -> Result<(), Gone> {
        let Some((name, id)) = self.any_post() else {
            return self.publish(client).await;
        };
        let post = self.posts.get_mut(&name).expect("it was chosen among them");
        post.touched = true;
        post.state.maybe = Some(None);
        let path = format!("/api/posts/{id}");
        self.send(client, "DELETE", &path, None).await?.expect(200);
        let post = self.posts.get_mut(&name).expect("it was chosen among them");
        post.took_place(None);
        Ok(())
    }

    fn any_post(&self) -> Option<(String, String)> {
        let standing = self
            .posts
            .iter()
            .filter(|(_, post)| post.state.sure.is_some() && post.state.maybe.is_none());
        let (name, post) = standing.choose(&mut rand::rng())?;
        Some((
            name.clone(),
            post.id.clone().expect("whatever stands has an id"),
        ))
    }
}

impl Post {
    fn took_place(&mut self, said: Option<Said>) {
        self.state.acknowledged(said);
        self.changes += 1;
    }
}
