//! Random histories against a naive model: whatever is written, in whatever order it arrives and
//! however often, the streams show in the end what a query over the posts would.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use blocks::ManualClock;
use chrono::TimeDelta;
use events::Message;
use feed_generator::Settings;
use feed_generator::mirror::Bounds;
use proptest::prelude::*;
use serde_json::{Value, json};
use sql::FaultPoint;
use testkit::faults::Fails;
use testkit::service::texts;

use crate::backend::Backend;
use crate::support::{Post, World, user_created, user_deleted, user_renamed};

/// Accounts that tell their names; those from here on never do.
const NAMED: i64 = 3;
const USERS: i64 = 4;

#[derive(Debug, Clone)]
enum Step {
    /// A user writes a post.
    Create(i64),
    /// The nth post changes.
    Update(usize),
    /// The nth post goes.
    Delete(usize),
    /// A user takes another name.
    Rename(i64),
    /// An account is closed, and its posts are deleted now or never.
    Close(i64, bool),
    /// The clock moves on.
    Wait(i64),
    /// The nth unpublished event is published: the order changes.
    Publish(usize),
    /// All unpublished events are published.
    PublishAll,
    /// An event that was published is published again.
    Again(usize),
    /// The consumer gets some records of a partition, and some it had before.
    Deliver {
        partition: i32,
        max: usize,
        back: i64,
    },
    /// The consumer gets all, over a failure.
    DeliverAll(Option<FaultPoint>),
    /// A reader goes on with a walk by cursor.
    Read(usize),
    /// The log is read again from the start, perhaps after its clean-up. The consumer is told, or
    /// notices.
    Rebuild { heard: bool, compacted: bool },
    /// The process is started anew.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let user = 1..=USERS;
    prop_oneof![
        8 => user.clone().prop_map(Step::Create),
        4 => (0..40_usize).prop_map(Step::Update),
        3 => (0..40_usize).prop_map(Step::Delete),
        2 => (1..=NAMED).prop_map(Step::Rename),
        1 => ((1..=NAMED), any::<bool>()).prop_map(|(user, posts)| Step::Close(user, posts)),
        3 => (0..3_i64).prop_map(Step::Wait),
        6 => (0..40_usize).prop_map(Step::Publish),
        3 => Just(Step::PublishAll),
        2 => (0..80_usize).prop_map(Step::Again),
        6 => (0..6_i32, 1..6_usize, 0..4_i64)
            .prop_map(|(partition, max, back)| Step::Deliver { partition, max, back }),
        3 => proptest::option::of(prop_oneof![
            Just(FaultPoint::BeforeWrite),
            Just(FaultPoint::BeforeCommit),
            Just(FaultPoint::AfterCommit),
        ])
        .prop_map(Step::DeliverAll),
        5 => (1..4_usize).prop_map(Step::Read),
        1 => any::<(bool, bool)>()
            .prop_map(|(heard, compacted)| Step::Rebuild { heard, compacted }),
        1 => Just(Step::Restart),
    ]
}

struct User {
    name: String,
    version: i64,
}

/// The state of the writing side.
#[derive(Default)]
struct Model {
    posts: Vec<Post>,
    deleted: BTreeSet<usize>,
    users: BTreeMap<i64, User>,
    closed: BTreeSet<i64>,
    held: Vec<Message>,
    published: Vec<Message>,
}

impl Model {
    /// The result of a naive query: for all users, or for one.
    fn stream(&self, user: Option<i64>) -> Vec<Value> {
        let mut posts: Vec<&Post> = self
            .posts
            .iter()
            .enumerate()
            .filter(|(index, post)| {
                !self.deleted.contains(index)
                    && !self.closed.contains(&post.user_id)
                    && user.is_none_or(|user| user == post.user_id)
            })
            .map(|(_, post)| post)
            .collect();
        posts.sort_by_key(|post| std::cmp::Reverse((post.created_at, post.id)));
        let item = |post: &&Post| {
            let username = self
                .users
                .get(&post.user_id)
                .map_or(&post.username, |user| &user.name);
            json!({
                "post_id": post.id.to_string(),
                "user_id": post.user_id,
                "username": username,
                "event_type": if post.version == 1 { "post.created" } else { "post.updated" },
                "timestamp": events::timestamp(post.changed_at),
                "title": post.title,
                "content": format!("about {}", post.title),
                "tags": ["tag"],
            })
        };
        posts.iter().map(item).collect()
    }

    fn living(&self, nth: usize) -> Option<usize> {
        let living: Vec<usize> = (0..self.posts.len())
            .filter(|index| {
                !self.deleted.contains(index) && !self.closed.contains(&self.posts[*index].user_id)
            })
            .collect();
        (!living.is_empty()).then(|| living[nth % living.len()])
    }
}

/// A reader on its way through the global stream.
#[derive(Default)]
struct Walk {
    cursor: Option<String>,
    /// The stream as it was when the walk began.
    began_with: Vec<String>,
    met: Vec<String>,
}

struct Run {
    world: World,
    clock: Arc<ManualClock>,
    model: Model,
    walk: Option<Walk>,
}

impl Run {
    async fn new(store: impl AsyncFnOnce(Arc<ManualClock>) -> Backend, entries: usize) -> Self {
        let clock = Arc::new(ManualClock::default());
        let store = store(Arc::clone(&clock)).await;
        let bounds = Bounds {
            entries,
            ..Bounds::default()
        };
        let world = World::new(
            store,
            Settings {
                bounds,
                ..Settings::default()
            },
        )
        .await;
        let mut model = Model::default();
        for user in 1..=NAMED {
            let name = format!("user-{user}");
            model
                .held
                .push(user_created(user, &name, world.clock.now()));
            model.users.insert(user, User { name, version: 1 });
        }
        Self {
            world,
            clock,
            model,
            walk: None,
        }
    }

    async fn step(&mut self, step: &Step) {
        let now = self.world.clock.now();
        let model = &mut self.model;
        match *step {
            Step::Create(user) if !model.closed.contains(&user) => {
                let number = model.posts.len() as u128;
                // Ids don't say in which order the posts were made.
                let id = (number.wrapping_mul(0x9E37_79B9) % 1000) << 64 | number;
                let post = Post::new(id, user, &format!("post {number}"), now);
                model.held.push(post.message());
                model.posts.push(post);
            }
            Step::Update(nth) => {
                if let Some(index) = model.living(nth) {
                    let title = format!("{} again", model.posts[index].title);
                    model.held.push(model.posts[index].updated(&title, now));
                }
            }
            Step::Delete(nth) => {
                if let Some(index) = model.living(nth) {
                    model.held.push(model.posts[index].deleted(now));
                    model.deleted.insert(index);
                }
            }
            Step::Rename(user) if !model.closed.contains(&user) => {
                let known = model.users.get_mut(&user).unwrap();
                known.version += 1;
                known.name = format!("user-{user}-{}", known.version);
                model
                    .held
                    .push(user_renamed(user, &known.name, known.version, now));
            }
            Step::Close(user, with_posts) if !model.closed.contains(&user) => {
                let version = model.users[&user].version + 1;
                model.held.push(user_deleted(user, version, now));
                if with_posts {
                    for (index, post) in model.posts.iter().enumerate() {
                        if post.user_id == user && model.deleted.insert(index) {
                            model.held.push(post.deleted(now));
                        }
                    }
                }
                model.closed.insert(user);
            }
            Step::Create(_) | Step::Rename(_) | Step::Close(..) => {}
            Step::Wait(ms) => self.clock.advance(TimeDelta::milliseconds(ms)),
            Step::Publish(nth) => {
                if !model.held.is_empty() {
                    let message = model.held.remove(nth % model.held.len());
                    self.world.publish(std::slice::from_ref(&message)).await;
                    model.published.push(message);
                }
            }
            Step::PublishAll => {
                self.world.publish(&model.held).await;
                model.published.append(&mut model.held);
            }
            Step::Again(nth) => {
                if !model.published.is_empty() {
                    let message = &model.published[nth % model.published.len()];
                    self.world.publish(std::slice::from_ref(message)).await;
                }
            }
            Step::Deliver {
                partition,
                max,
                back,
            } => {
                self.world
                    .deliver(max, back, |of| of.partition == partition)
                    .await;
            }
            Step::DeliverAll(fault) => {
                if let Some(point) = fault {
                    self.world.backend.inject(Fails::once(point));
                }
                self.world.settle().await;
                self.world.assert_mirror_is_true().await;
            }
            Step::Read(limit) => self.read(limit).await,
            Step::Rebuild { heard, compacted } => {
                if compacted {
                    self.compact().await;
                }
                // A pending injected failure may hit this write: it is tried again.
                if self.world.feed.rebuild().await.is_err() {
                    self.world.feed.rebuild().await.unwrap();
                }
                if heard {
                    self.world.rewind().await;
                }
            }
            Step::Restart => self.world.reopen().await,
        }
    }

    async fn all_ids(&self) -> Vec<String> {
        texts(
            &self.world.page("/api/activity-stream?limit=100").await,
            "post_id",
        )
    }

    /// One page of the walk. At its end, every post that stayed was met once, and none twice.
    async fn read(&mut self, limit: usize) {
        let began_with = self.all_ids().await;
        let walk = self.walk.get_or_insert_with(|| Walk {
            began_with,
            ..Walk::default()
        });
        let cursor = walk
            .cursor
            .as_ref()
            .map(|cursor| format!("&cursor={cursor}"));
        let uri = format!(
            "/api/activity-stream?limit={limit}{}",
            cursor.unwrap_or_default()
        );
        let page = self.world.page(&uri).await;
        walk.met.extend(texts(&page, "post_id"));
        walk.cursor = page["next_cursor"].as_str().map(str::to_owned);
        if walk.cursor.is_none() {
            let walk = self.walk.take().unwrap();
            let now: BTreeSet<String> = self.all_ids().await.into_iter().collect();
            let met: BTreeSet<&String> = walk.met.iter().collect();
            assert_eq!(
                met.len(),
                walk.met.len(),
                "a post was met twice: {:?}",
                walk.met
            );
            for post in walk.began_with.iter().filter(|post| now.contains(*post)) {
                assert!(met.contains(post), "a post that stayed was not met: {post}");
            }
        }
    }

    /// A week passes with the consumer up to date, and the log drops old records.
    async fn compact(&mut self) {
        self.world.settle().await;
        self.clock.advance(TimeDelta::days(8));
        let now = self.world.clock.now();
        self.world.log.clean_up(now).await.unwrap();
        self.world.assert_log_is_compact().await;
    }

    /// Lets the consumer do all there is to do, and looks at what came of it.
    async fn quiet(&mut self) {
        self.world.rewind().await;
        self.world.settle().await;
        assert_eq!(self.world.feed.rebuild_progress().await.unwrap(), None);
        self.check().await;
        self.world.assert_mirror_is_true().await;
    }

    /// After quiet: every stream and every page of it is what the model says.
    async fn check(&self) {
        let streams = std::iter::once((None, "/api/activity-stream".to_owned())).chain(
            (1..=USERS).map(|user| (Some(user), format!("/api/activity-stream/user/{user}"))),
        );
        for (user, uri) in streams {
            let expected = self.model.stream(user);
            for limit in [1, 3, 100] {
                for skip in 0..=expected.len() + 1 {
                    let page = self
                        .world
                        .page(&format!("{uri}?limit={limit}&skip={skip}"))
                        .await;
                    let end = (skip + limit).min(expected.len());
                    let items = &expected[skip.min(expected.len())..end];
                    assert_eq!(
                        page["items"].as_array().unwrap(),
                        items,
                        "{uri} from {skip}"
                    );
                    assert_eq!(page["total"], expected.len());
                    assert_eq!(page["next_cursor"].is_null(), end == expected.len());
                }
                let (mut walked, mut cursor) = (Vec::new(), String::new());
                loop {
                    let page = self
                        .world
                        .page(&format!("{uri}?limit={limit}{cursor}"))
                        .await;
                    walked.extend(page["items"].as_array().unwrap().clone());
                    let Some(next) = page["next_cursor"].as_str() else {
                        break;
                    };
                    cursor = format!("&cursor={next}");
                }
                assert_eq!(walked, expected, "{uri} by cursor");
            }
        }
    }
}

async fn run(
    store: impl AsyncFnOnce(Arc<ManualClock>) -> Backend,
    steps: Vec<Step>,
    entries: usize,
) {
    let mut run = Run::new(store, entries).await;
    for step in &steps {
        run.step(step).await;
    }
    run.step(&Step::PublishAll).await;
    run.quiet().await;
    // A feed that is opened anew, and one that is made anew, say the same.
    run.step(&Step::Restart).await;
    run.check().await;
    for compacted in [false, true] {
        let heard = true;
        run.step(&Step::Rebuild { heard, compacted }).await;
        run.quiet().await;
    }
}

fn block_on(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_streams_are_what_a_naive_query_over_the_posts_gives(
        steps in proptest::collection::vec(step(), 10..90),
        entries in prop_oneof![Just(2_usize), Just(6), Just(2000)],
    ) {
        block_on(run(async |clock| Backend::sqlite_at(clock).await, steps, entries));
    }

    #[cfg(feature = "fleet")]
    #[test]
    #[ignore = "needs TEST_REDIS_URL"]
    fn in_redis_the_streams_are_what_a_naive_query_over_the_posts_gives(
        steps in proptest::collection::vec(step(), 10..90),
    ) {
        block_on(run(async |clock| Backend::redis_at(clock).await, steps, 0));
    }
}
