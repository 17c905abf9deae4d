//! The answer that an account is erased, on each store.

use feed_generator::Settings;
use feed_generator::consumer::TOPICS;

use crate::backend::Backend;
use crate::on_each_store;
use crate::support::{Post, World, user_created, user_deleted};

const STREAM: &str = "/api/activity-stream";

on_each_store!(
    an_erased_account_is_answered_once_with_the_number_of_its_records,
    |store: Backend| async move {
        let mut world = World::new(store, Settings::default()).await;
        let now = world.clock.now();
        let by = |id, user| Post::new(id, user, "t", now);
        let named = [user_created(7, "anna", now), user_created(8, "bert", now)];
        world.publish(&named).await;
        let posts = [by(1, 7), by(2, 7), by(3, 7), by(4, 8)];
        world
            .publish(&posts.clone().map(|post| post.message()))
            .await;
        // A post that went before is not counted.
        world.publish(&[posts[0].deleted(now)]).await;
        world.settle().await;
        assert_eq!(world.answers().await, []);
        // Of user 9 nothing came before.
        let closed = [user_deleted(7, 2, now), user_deleted(9, 1, now)];
        world.publish(&closed).await;
        world.settle().await;
        let mut answered = world.answers().await;
        answered.sort_unstable();
        assert_eq!(answered, [(7, 3), (9, 0)]);
        assert_eq!(world.titles(STREAM).await, ["t"]);
        assert_eq!(world.backend.names().await, 1);

        // The same records again, the topics from their start, and a post that comes late.
        world.reopen().await;
        world.deliver(1000, 1000, |_| true).await;
        let topics = TOPICS.iter().map(|topic| topic.name.to_owned());
        let store = &world.feed.consumer().store;
        store.reset(&topics.collect::<Vec<_>>()).await.unwrap();
        world.rewind().await;
        world.settle().await;
        world.publish(&[by(5, 7).message()]).await;
        world.settle().await;
        assert_eq!(world.answers().await.len(), 2);
        assert_eq!(world.titles(STREAM).await, ["t"]);
    }
);
