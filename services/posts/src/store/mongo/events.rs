//! Events in documents.

use std::str::FromStr;

use blocks::error::BoxError;
use blocks::outbox::{Pending, Place};
use chrono::{DateTime, Utc};
use events::{Context, Envelope, Event, Message};
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{self, Binary};
use serde::{Deserialize, Serialize};
use sql::{MAX_EVENT_BYTES, StoreError};
use uuid::Uuid;

use super::Mongo;
use super::document::{date, time};

/// An event to publish.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct EventDoc {
    /// A `UUIDv7`, also its place in the outbox.
    pub id: String,
    pub event_type: String,
    pub topic: String,
    pub key: String,
    pub version: i64,
    /// Names and values as JSON: one text is cheaper for a server than a list.
    pub headers: String,
    pub value: ValueDoc,
    pub time: bson::DateTime,
    /// When it was committed.
    pub at: bson::DateTime,
}

/// An event's value, as text where possible, so that people can read it in the database.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum ValueDoc {
    Text(String),
    Bytes(Binary),
}

impl EventDoc {
    /// `message` as event `id`.
    pub(super) fn new(
        mongo: &Mongo,
        id: Uuid,
        event_type: &str,
        version: i64,
        message: &Message,
    ) -> Self {
        let value = match String::from_utf8(message.value.clone()) {
            Ok(text) => ValueDoc::Text(text),
            Err(bytes) => ValueDoc::Bytes(Binary {
                subtype: BinarySubtype::Generic,
                bytes: bytes.into_bytes(),
            }),
        };
        Self {
            id: id.to_string(),
            event_type: event_type.to_owned(),
            topic: message.topic.clone(),
            key: message.key.clone(),
            version,
            headers: serde_json::json!(message.headers).to_string(),
            value,
            time: date(message.time),
            at: date(mongo.settings().clock.now()),
        }
    }

    /// The event in the relay's form.
    pub(super) fn pending(self) -> Result<Pending, BoxError> {
        Ok(Pending {
            place: Place::from(Uuid::from_str(&self.id)?),
            message: Message {
                topic: self.topic,
                key: self.key,
                headers: serde_json::from_str(&self.headers)?,
                value: match self.value {
                    ValueDoc::Text(text) => text.into_bytes(),
                    ValueDoc::Bytes(binary) => binary.bytes,
                },
                time: time(self.time),
            },
        })
    }
}

/// Encloses `event`, which happened at `at`, as version `version` of its subject. Returns it for the
/// document, and for the relay once that is written.
///
/// # Errors
/// When it is too large for a topic, or can't be written as JSON.
pub(super) fn enclose<E: Event>(
    mongo: &Mongo,
    event: &E,
    version: i64,
    context: Context,
    at: DateTime<Utc>,
) -> Result<(EventDoc, Pending), StoreError> {
    mongo.admits_events()?;
    let id = mongo.settings().clock.id();
    let service = mongo.settings().service;
    let envelope = Envelope::new(id, service, at, version, context, event)?;
    if envelope.value.len() > MAX_EVENT_BYTES {
        return Err(StoreError::EventTooLarge {
            bytes: envelope.value.len(),
            limit: MAX_EVENT_BYTES,
        });
    }
    let message = envelope.message();
    let document = EventDoc::new(mongo, id, E::TYPE, version, &message);
    let place = Place::from(id);
    Ok((document, Pending { place, message }))
}
