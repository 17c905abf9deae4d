//! A topic as others see it: tools, and programs that are not ours.

use std::collections::BTreeMap;

use blocks::bus::EventBus;
use blocks::{Clock, SystemClock};
use events::posts::PostDeleted;
use events::{Context, Envelope, Traceparent};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message, OwnedMessage};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};
use testkit::bus::{PATIENCE, fresh_topic};
use uuid::Uuid;

use crate::contract::{bus, servers};

/// The oldest record, as a client finds it that knows nothing of us.
async fn first(topic: &str) -> OwnedMessage {
    let topic = topic.to_owned();
    tokio::task::spawn_blocking(move || {
        let client: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", servers())
            .set("group.id", "a-tool")
            .create()
            .unwrap();
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(&topic, 0, Offset::Beginning)
            .unwrap();
        client.assign(&from).unwrap();
        client.poll(PATIENCE).unwrap().unwrap().detach()
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_KAFKA"]
async fn an_event_is_a_cloud_event_whose_value_a_person_can_read() {
    let bus = bus();
    let topic = fresh_topic(&bus, 1).await;
    let (id, post_id, time) = (SystemClock.id(), Uuid::from_u128(7), SystemClock.now());
    let context = Context {
        traceparent: Traceparent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        correlation_id: Some("c-1".into()),
        ..Context::default()
    };
    let event = PostDeleted {
        post_id,
        user_id: 42,
    };
    let envelope = Envelope::new(id, "posts", time, 3, context, &event).unwrap();
    let mut message = envelope.message();
    message.topic.clone_from(&topic);
    bus.publish(&[message]).await.unwrap();

    let record = first(&topic).await;
    let timestamp = events::timestamp(time);
    let value: Value = serde_json::from_slice(record.payload().unwrap()).unwrap();
    assert_eq!(
        value,
        json!({
            "event_type": "post.deleted", "timestamp": timestamp,
            "data": {"post_id": post_id, "user_id": 42},
        })
    );
    assert_eq!(record.key().unwrap(), post_id.to_string().as_bytes());
    assert_eq!(
        record.timestamp().to_millis(),
        Some(time.timestamp_millis())
    );
    let headers: BTreeMap<String, String> = record
        .headers()
        .unwrap()
        .iter()
        .map(|header| {
            let text = String::from_utf8(header.value.unwrap().to_vec()).unwrap();
            (header.key.to_owned(), text)
        })
        .collect();
    let expected = [
        ("ce_specversion", "1.0".to_owned()),
        ("ce_id", id.to_string()),
        ("ce_type", "post.deleted".to_owned()),
        ("ce_source", "/services/posts".to_owned()),
        ("ce_time", timestamp),
        ("ce_subject", post_id.to_string()),
        ("ce_sequence", "3".to_owned()),
        ("ce_dataschema", "1".to_owned()),
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned(),
        ),
        ("correlation-id", "c-1".to_owned()),
    ];
    let expected: BTreeMap<String, String> = expected
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    assert_eq!(headers, expected);
}
