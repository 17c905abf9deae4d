//! Events in documents: none is lost, and those of a post keep their order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use blocks::outbox::{Depth, Outbox, Pending, Place, Published};
use blocks::{Clock, SystemClock};
use chrono::TimeDelta;
use events::header;
use posts::NAME;
use posts::store::PostStore;
use posts::store::mongo::{Mongo, MongoPosts, Settings};
use tokio::time::timeout;
use uuid::Uuid;

use super::{PATIENCE, ada, create, document, draft, fresh, retitle, update};
use crate::stores::fresh_url;

async fn pending(mongo: &Mongo) -> Vec<Pending> {
    mongo.pending(None, Place::START, 1000).await.unwrap()
}

fn published(events: &[Pending]) -> Vec<Published> {
    events.iter().map(Published::from).collect()
}

fn version(event: &Pending) -> i64 {
    let headers = event.message.headers.iter();
    let mut sequence = headers.filter(|(name, _)| name == header::SEQUENCE);
    sequence.next().unwrap().1.parse().unwrap()
}

#[tokio::test]
#[ignore = "needs TEST_MONGODB_URL"]
async fn what_is_written_is_handed_over_although_nobody_waits_for_it_any_more() {
    let mongo = fresh().await;
    let posts = MongoPosts::new(mongo.clone());
    let mut handed_over = mongo.committed().unwrap();
    // The author is known from here on: the next post begins with its write.
    let post = create(&mongo, "first").await;
    handed_over.recv().await.unwrap();

    let abandoned = posts.create(draft("second"), ada(), None);
    timeout(Duration::ZERO, abandoned).await.unwrap_err();
    let event = timeout(PATIENCE, handed_over.recv()).await.unwrap();
    assert_eq!(version(&event.unwrap()[0]), 1);

    let (next, event) = post.change(retitle("changed"), post.updated_at).unwrap();
    let abandoned = posts.update(&next, &event);
    timeout(Duration::ZERO, abandoned).await.unwrap_err();
    let event = timeout(PATIENCE, handed_over.recv()).await.unwrap();
    assert_eq!(version(&event.unwrap()[0]), 2);
}

#[tokio::test]
#[ignore = "needs TEST_MONGODB_URL"]
async fn what_is_handed_over_is_what_the_documents_hold_until_it_is_marked() {
    let mongo = fresh().await;
    let mut handed_over = mongo.committed().unwrap();
    assert!(mongo.committed().is_none());
    assert_eq!(mongo.depth().await.unwrap(), Depth::default());
    let start = SystemClock.now();
    let mut posts = Vec::new();
    for number in 0..10 {
        posts.push(create(&mongo, &number.to_string()).await);
    }
    let mut given = Vec::new();
    while let Ok(events) = handed_over.try_recv() {
        given.extend(events);
    }
    assert_eq!(given.len(), 10);
    assert_eq!(given, pending(&mongo).await);
    let depth = mongo.depth().await.unwrap();
    assert_eq!(depth.pending, 10);
    assert!(depth.oldest.unwrap() >= start, "{depth:?}");
    let soon = SystemClock.now() + TimeDelta::days(1);
    assert_eq!(mongo.keys_pending_before(start).await.unwrap(), 0);
    assert_eq!(mongo.keys_pending_before(soon).await.unwrap(), 10);
    let earlier = mongo.pending(Some(start), Place::START, 10).await.unwrap();
    assert_eq!(earlier, []);
    let later = mongo.pending(Some(soon), given[3].place, 4).await.unwrap();
    assert_eq!(later, given[4..8]);

    let mut marked = published(&given[..9]);
    marked[8].place = Place::from(Uuid::nil());
    marked.push(published(&given[8..9]).remove(0));
    mongo.mark_published(&marked).await.unwrap();
    mongo.mark_published(&[]).await.unwrap();
    assert_eq!(pending(&mongo).await, given[9..]);
    let first = document(&mongo, &posts[0]).await;
    assert_eq!(first.get_array("pending").unwrap().len(), 0);
}

#[tokio::test]
#[ignore = "needs TEST_MONGODB_URL"]
async fn marking_takes_no_event_away_that_was_not_published() {
    let mongo = fresh().await;
    let mut post = create(&mongo, "1").await;
    for title in ["2", "3", "4"] {
        post = update(&mongo, &post, title).await;
    }
    let all = pending(&mongo).await;
    let marked = published(&all);
    assert_eq!(marked.len(), 4);
    // The third was published by somebody who did not know of the second.
    let some = [marked[0].clone(), marked[2].clone()];
    mongo.mark_published(&some).await.unwrap();
    assert_eq!(pending(&mongo).await, all[1..]);
    mongo.mark_published(&marked[1..3]).await.unwrap();
    assert_eq!(pending(&mongo).await, all[3..]);
    // Marked while another is pushed.
    let (done, _) = tokio::join!(
        mongo.mark_published(&marked[3..]),
        update(&mongo, &post, "5")
    );
    done.unwrap();
    let left: Vec<i64> = pending(&mongo).await.iter().map(version).collect();
    assert_eq!(left, [5]);
}

#[tokio::test]
#[ignore = "needs TEST_MONGODB_URL"]
async fn pages_of_any_size_leave_nothing_out_and_keep_the_order_of_each_post() {
    for size in [1, 2, 3, 7, 100] {
        let mongo = fresh().await;
        let mut posts = Vec::new();
        for number in 0..5 {
            posts.push(create(&mongo, &number.to_string()).await);
        }
        for round in 0..2 {
            for post in &mut posts {
                *post = update(&mongo, post, &format!("again {round}")).await;
            }
        }
        let mut seen: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        let mut after = Place::START;
        // As a relay reads: on from the last one, from the start when there is none.
        loop {
            let page = mongo.pending(None, after, size).await.unwrap();
            assert!(page.len() <= size);
            match page.last() {
                Some(last) => after = last.place,
                None if after == Place::START => break,
                None => after = Place::START,
            }
            for event in &page {
                let versions = seen.entry(event.message.key.clone()).or_default();
                versions.push(version(event));
            }
            mongo.mark_published(&published(&page)).await.unwrap();
        }
        assert_eq!(seen.len(), 5, "pages of {size}");
        for versions in seen.values() {
            assert_eq!(versions, &[1, 2, 3], "pages of {size}");
        }
    }
}

#[tokio::test]
#[ignore = "needs TEST_MONGODB_URL"]
async fn a_refused_event_is_kept_aside_and_the_others_go_on() {
    let mongo = fresh().await;
    let first = create(&mongo, "1").await;
    update(&mongo, &first, "2").await;
    create(&mongo, "other").await;
    let all = pending(&mongo).await;
    let refused = all.iter().position(|event| version(event) == 2).unwrap();
    let place = all[refused].place;
    mongo.mark_refused(place, "too odd").await.unwrap();
    mongo.mark_refused(place, "twice").await.unwrap();
    let rest: Vec<Pending> = all
        .into_iter()
        .filter(|event| event.place != place)
        .collect();
    assert_eq!(pending(&mongo).await, rest);
    let kept = document(&mongo, &first).await;
    let kept = kept.get_array("refused").unwrap();
    assert_eq!(kept.len(), 1);
    let kept = kept[0].as_document().unwrap();
    assert_eq!(kept.get_str("reason").unwrap(), "too odd");
    let event = kept.get_document("event").unwrap();
    assert_eq!(event.get_str("id").unwrap(), place.to_string());
    mongo.mark_published(&published(&rest)).await.unwrap();
    assert_eq!(mongo.depth().await.unwrap().pending, 0);
}

#[tokio::test]
#[ignore = "needs TEST_MONGODB_URL"]
async fn without_an_outbox_documents_keep_no_events_and_memory_does() {
    let settings = Settings {
        service: NAME,
        clock: Arc::new(SystemClock),
        keep_inbox: true,
        keep_outbox: false,
        makes_indexes: true,
    };
    let mongo = Mongo::connect(&fresh_url(), settings).await.unwrap();
    let post = create(&mongo, "first").await;
    update(&mongo, &post, "second").await;
    assert_eq!(pending(&mongo).await, [], "in documents");
    let outbox = mongo.outbox();
    let waiting = outbox.pending(None, Place::START, 10).await.unwrap();
    assert_eq!(waiting.iter().map(version).collect::<Vec<_>>(), [1, 2]);
    outbox.mark_published(&published(&waiting)).await.unwrap();
    assert_eq!(outbox.depth().await.unwrap(), Depth::default());
}
