//! Several processes that share nothing but a database.

use blocks::extract::{KeyRefused, KeyedRequest, Span};
use std::sync::Arc;
use std::time::{Duration, Instant};

use blocks::bus::Record;
use blocks::consumer::ConsumerStore;
use blocks::{Clock, ManualClock, SystemClock};
use chrono::TimeDelta;
use events::posts::PostCreated;
use events::users::{UserCreated, UserDeleted, UserUpdated};
use events::{Envelope, Event};
use futures::future::join_all;
use mongodb::bson::{Document, doc};
use posts::domain::Limits;
use posts::error::PostError;
use posts::store::mongo::{Mongo, MongoPosts};
use posts::store::{Filter, PostStore};
use posts::{Posts, service};

use super::{PATIENCE, ada, create, draft, retitle};
use crate::stores::{connect, fresh_url};

/// Two processes on a fresh database.
async fn two() -> (Mongo, Mongo) {
    let url = fresh_url();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let one = connect(&url, Arc::clone(&clock)).await;
    (one, connect(&url, clock).await)
}

/// The consumer group's member of a process.
fn group(posts: &Posts) -> Arc<dyn ConsumerStore> {
    Arc::clone(&service(posts).consumers[0].store)
}

fn open(mongo: &Mongo) -> Posts {
    Posts::open_mongo(mongo.clone(), Limits::default())
}

fn record<E: Event>(version: i64, event: &E) -> Record {
    testkit::service::record(&SystemClock, version, version, event)
}

fn renamed(version: i64, name: &str) -> Record {
    let event = UserUpdated {
        user_id: 1,
        username: name.to_owned(),
        role: "user".into(),
    };
    record(version, &event)
}

fn registered(name: &str) -> Record {
    let event = UserCreated {
        user_id: 1,
        username: name.to_owned(),
        email: "a@example.org".into(),
        role: "user".into(),
        imported: false,
    };
    record(1, &event)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_MONGODB_URL"]
async fn of_two_writers_about_one_version_one_succeeds() {
    let (one, two) = two().await;
    let mut post = create(&one, "0").await;
    let (one, two) = (MongoPosts::new(one), MongoPosts::new(two));
    for round in 1..=10 {
        let changed = |who: &str| post.change(retitle(&format!("{round} {who}")), post.updated_at);
        let ((left, event), (right, other)) = (changed("l").unwrap(), changed("r").unwrap());
        let (l, r) = tokio::join!(one.update(&left, &event), two.update(&right, &other));
        let (l, r) = (l.unwrap(), r.unwrap());
        assert!(l != r, "round {round}: {l} and {r}");
        post = if l { left } else { right };
        assert_eq!(one.get(post.id).await.unwrap(), Some(post.clone()));
    }
    let event = post.deleted();
    let (l, r) = tokio::join!(one.delete(&post, &event), two.delete(&post, &event));
    assert!(l.unwrap() != r.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_MONGODB_URL"]
async fn a_key_that_two_processes_are_asked_under_at_once_gives_one_post() {
    let (one, two) = two().await;
    let (one, two) = (MongoPosts::new(one), MongoPosts::new(two));
    for round in 0..10 {
        let ask = async |posts: &MongoPosts, title: &str| {
            let request = KeyedRequest::new(format!("k{round}"), &draft(title).parts());
            posts.create(draft(title), ada(), Some(request)).await
        };
        let answers = tokio::join!(
            ask(&one, "a"),
            ask(&two, "a"),
            ask(&one, "b"),
            ask(&two, "b"),
        );
        let answers = <[_; 4]>::from(answers);
        let ids = answers.iter().filter_map(|answer| answer.as_ref().ok());
        let ids: Vec<_> = ids.map(|post| post.id).collect();
        assert_eq!(ids.len(), 2, "{answers:?}");
        assert_eq!(ids[0], ids[1]);
        let refused = answers
            .iter()
            .filter(|answer| matches!(answer, Err(PostError::Key(KeyRefused::Reused))));
        assert_eq!(refused.count(), 2);
    }
    assert_eq!(one.count(&Filter::default()).await.unwrap(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_MONGODB_URL"]
async fn a_rename_that_another_process_hears_of_shows_at_once_and_soon_in_events() {
    let (here, there) = two().await;
    let (posts, other) = (open(&here), open(&there));
    let hears = group(&other);
    hears.apply(&[registered("ada")]).await.unwrap();
    create(&here, "before").await;
    // Posts are created all the time while the name changes.
    let creating = async {
        let began = Instant::now();
        let mut created = 0;
        loop {
            let post = create(&here, "while").await;
            created += 1;
            if post.author.name == "countess" {
                return created;
            }
            assert!(began.elapsed() < PATIENCE, "the new name never came");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let renaming = async {
        hears.apply(&[renamed(2, "countess")]).await.unwrap();
        let all = Filter::default();
        let page = posts.store().newest(&all, Span::first(10)).await.unwrap();
        assert!(
            page.iter().all(|post| post.author.name == "countess"),
            "{page:?}"
        );
    };
    let (created, ()) = tokio::join!(creating, renaming);
    let events = here_events(&here).await;
    assert_eq!(events.len(), created + 1);
    assert_eq!(events.last().unwrap().username, "countess");
}

/// The published events of posts, in the order of their creation.
async fn here_events(mongo: &Mongo) -> Vec<PostCreated> {
    use blocks::outbox::{Outbox, Place};
    let pending = mongo.pending(None, Place::START, 10_000).await.unwrap();
    let events = pending.iter().map(|pending| {
        let message = &pending.message;
        let key = Some(message.key.as_str());
        Envelope::read(&message.topic, key, &message.headers, &message.value).unwrap()
    });
    events
        .filter_map(|event| event.open::<PostCreated>())
        .map(Result::unwrap)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_MONGODB_URL"]
async fn posts_on_their_way_while_their_account_is_closed_here_are_taken_back() {
    for _ in 0..5 {
        let mongo = connect(&fresh_url(), Arc::new(SystemClock)).await;
        let posts = open(&mongo);
        let group = group(&posts);
        group.apply(&[registered("ada")]).await.unwrap();
        create(&mongo, "known before").await;
        let closed = [record(2, &UserDeleted { user_id: 1 })];
        let create = async || posts.store().create(draft("t"), ada(), None).await;
        let creating = async {
            // Many of them wait for their turn to write when the account is closed.
            let answers = join_all((0..40).map(|_| create())).await;
            for answer in answers {
                let refused = matches!(answer, Err(PostError::AccountDeleted(_)));
                assert!(refused || answer.is_ok(), "{answer:?}");
            }
        };
        let (closed, ()) = tokio::join!(group.apply(&closed), creating);
        assert_eq!(closed.unwrap().handled, 1);
        assert_eq!(posts.store().count(&Filter::default()).await.unwrap(), 0);
    }
}

#[tokio::test]
#[ignore = "needs TEST_MONGODB_URL"]
async fn a_post_of_an_account_that_was_closed_elsewhere_does_not_stay() {
    let url = fresh_url();
    let clock = Arc::new(ManualClock::default());
    let here = connect(&url, Arc::clone(&clock) as _).await;
    let there = connect(&url, Arc::clone(&clock) as _).await;
    let other = open(&there);
    group(&other).apply(&[registered("ada")]).await.unwrap();
    // This process still takes the account for open for a while.
    create(&here, "1").await;
    let closed = record(2, &UserDeleted { user_id: 1 });
    group(&other).apply(&[closed]).await.unwrap();
    let late = create(&here, "2").await;
    let authors = there.database().collection::<Document>("authors");
    let unsettled = doc! {"has_posts": true};
    assert_eq!(other.removal().drain().await.unwrap(), 1);
    assert_eq!(authors.count_documents(unsettled.clone()).await.unwrap(), 1);
    assert_eq!(open(&here).store().get(late.id).await.unwrap(), None);
    assert_eq!(
        super::document(&here, &late).await.get_i64("version"),
        Ok(2)
    );

    // Only now no post can come any more, and both are counted.
    let outbox = there.database().collection::<Document>("outbox_messages");
    assert_eq!(outbox.count_documents(doc! {}).await.unwrap(), 0);
    clock.advance(TimeDelta::seconds(20));
    assert_eq!(other.removal().drain().await.unwrap(), 0);
    assert_eq!(authors.count_documents(unsettled).await.unwrap(), 0);
    let answer = outbox.find_one(doc! {}).await.unwrap().unwrap();
    assert!(answer.to_string().contains(r#""records":2}"#), "{answer}");
    // By then it is known here, too.
    let posts = MongoPosts::new(here.clone());
    super::until("the closing is known", async || {
        let answer = posts.create(draft("3"), ada(), None).await;
        matches!(answer, Err(PostError::AccountDeleted(_)))
    })
    .await;
}
