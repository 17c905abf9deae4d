//! Whole topics delivered once more.

use std::time::Duration;

use crate::load::Writers;
use crate::stack::{Fleet, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_are_delivered_twice_leave_every_projection_as_it_was() {
    let fleet = Fleet::whole().await;
    let mut writers = Writers::of("replays")
        .write_for(&fleet, Duration::from_secs(4))
        .await;
    let count = writers.account(&fleet).await;
    let before = projections(&fleet).await;

    let consumers = fleet.services_with("consumer_lag").await;
    fleet.stop(&consumers).await;
    // The groups lose their offsets; the versions of their keys stay.
    assert_eq!(fleet.redis(&["del", "feed:group:offsets"]).await, "1");
    let schemas = fleet.schemas_with("consumer_offsets").await;
    let read = |schema: &&String| consumers.contains(&schema.trim_matches('"'));
    for schema in schemas.iter().filter(read) {
        let deleted = format!(
            "with gone as (delete from {schema}.consumer_offsets returning 1) select count(*) from gone"
        );
        assert_ne!(fleet.psql(&deleted).await, "0", "{schema} stood nowhere");
    }
    let deleted = "db.consumer_offsets.delete_many({}).deleted_count";
    assert_ne!(fleet.script(&["mongo", deleted]).await.trim(), "0");
    fleet.start(&consumers).await;

    for consumer in consumers {
        let read = eventually("it reads all of it again", async || {
            let name = "consumer_events_total";
            let skipped = fleet.metric(consumer, name, &["skipped"]).await;
            let handled = fleet.metric(consumer, name, &["handled"]).await;
            let lag = fleet.metric(consumer, "consumer_lag", &[]).await;
            if skipped > 0.0 && lag == 0.0 {
                Ok((skipped, handled))
            } else {
                Err(format!(
                    "{consumer}: {skipped} skipped, {handled} handled, {lag} to go"
                ))
            }
        })
        .await;
        println!("replays: {consumer} skipped {}, handled {}", read.0, read.1);
        assert!(read.1 < 0.5, "{consumer} handled something twice");
    }
    assert_eq!(projections(&fleet).await, before);
    assert_eq!(writers.account(&fleet).await, count);
}

/// The effects of events in all groups, as numbers that change with any of them.
async fn projections(fleet: &Fleet) -> Vec<String> {
    let streams = "local all = {} local keys = redis.call('KEYS', 'feed:activity:*') table.sort(keys) \
        for _, key in ipairs(keys) do \
        all[#all + 1] = key .. table.concat(redis.call('LRANGE', key, 0, -1), ' ') end \
        return redis.sha1hex(table.concat(all, ' '))";
    let mut projections = vec![fleet.redis(&["eval", streams, "0"]).await];
    for table in [
        "notification.notifications",
        "\"user-profile\".user_profiles",
    ] {
        let rows = format!(
            "select count(*) || ' ' || md5(string_agg(t::text, ';' order by t::text)) from {table} t"
        );
        projections.push(fleet.psql(&rows).await);
    }
    let posts = fleet.gateway().all("/api/posts", "id").await;
    projections.push(serde_json::to_string(&posts).unwrap());
    projections
}
