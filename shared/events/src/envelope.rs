//! An event's form on a topic: the value that a person reads in a console consumer, and headers for the
//! rest.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Event;
use crate::trace::{Traceparent, tracestate};

/// Header names: `CloudEvents` 1.0 in the Kafka protocol binding (binary mode), W3C trace context, and the
/// headers of dead letters.
pub mod header {
    /// `CloudEvents` version, always `1.0`.
    pub const SPEC_VERSION: &str = "ce_specversion";
    /// The event's id (UUIDv7), by which consumers dedupe.
    pub const ID: &str = "ce_id";
    /// `post.created` and the like.
    pub const TYPE: &str = "ce_type";
    /// The service that published it, as `/services/<name>`.
    pub const SOURCE: &str = "ce_source";
    /// When it happened, RFC 3339 UTC with milliseconds.
    pub const TIME: &str = "ce_time";
    /// The aggregate's id, equal to the record's key.
    pub const SUBJECT: &str = "ce_subject";
    /// The aggregate's version: 1, 2, 3 …
    pub const SEQUENCE: &str = "ce_sequence";
    /// The version of the data's schema.
    pub const DATA_SCHEMA: &str = "ce_dataschema";
    /// W3C trace context of the request that caused it.
    pub const TRACEPARENT: &str = "traceparent";
    /// The tracing systems' data about that trace; only where the request had some.
    pub const TRACESTATE: &str = "tracestate";
    /// The correlation id of the request that caused it.
    pub const CORRELATION_ID: &str = "correlation-id";

    /// Dead letters: why the consumer gave up.
    pub const DLQ_ERROR: &str = "dlq_error";
    /// Dead letters: `poison` or `rejected`.
    pub const DLQ_REASON: &str = "dlq_reason";
    /// Dead letters: the number of attempts.
    pub const DLQ_ATTEMPTS: &str = "dlq_attempts";
    /// Dead letters: the record's origin, as `topic/partition/offset`.
    pub const DLQ_ORIGIN: &str = "dlq_origin";
    /// Dead letters: the consumer group that gave up.
    pub const DLQ_GROUP: &str = "dlq_group";
}

/// Header names and values in the order they were written.
pub type Headers = Vec<(String, String)>;

/// The request or event that caused an event. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// The trace, and the span in it that caused the event.
    pub traceparent: Option<Traceparent>,
    /// The `tracestate` header, as cut by [`tracestate`].
    pub tracestate: Option<Arc<str>>,
    /// The correlation id given by the client, or made by the gateway.
    pub correlation_id: Option<Arc<str>>,
}

impl Context {
    /// The context in a record's headers. A malformed trace is left out: an event is good without.
    pub fn of(headers: &Headers) -> Self {
        let traceparent = find(headers, header::TRACEPARENT).and_then(Traceparent::parse);
        Self {
            tracestate: traceparent.and_then(|_| tracestate(find(headers, header::TRACESTATE))),
            traceparent,
            correlation_id: find(headers, header::CORRELATION_ID).map(Into::into),
        }
    }
}

/// The value of the header `name`.
fn find<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value.as_str())
}

/// The value as it stands on the topic.
#[derive(Debug, Serialize, Deserialize)]
pub struct Value<D> {
    /// `post.created` and the like.
    pub event_type: String,
    /// RFC 3339 UTC with milliseconds.
    pub timestamp: String,
    /// The event's own fields.
    pub data: D,
}

/// A record on its way to a topic: bytes and headers, nothing more to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The topic's name.
    pub topic: String,
    /// The partition key.
    pub key: String,
    /// See [`header`].
    pub headers: Headers,
    /// UTF-8 JSON for events; anything for a dead letter.
    pub value: Vec<u8>,
    /// When it happened; becomes the record's timestamp.
    pub time: DateTime<Utc>,
}

/// An event with its metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The event's unique id, by which consumers dedupe.
    pub id: Uuid,
    /// The topic's name.
    pub topic: String,
    /// `post.created` and the like.
    pub event_type: String,
    /// The service that published it, as `/services/<name>`.
    pub source: String,
    /// When it happened, whole milliseconds.
    pub time: DateTime<Utc>,
    /// The aggregate's id: the partition key.
    pub subject: String,
    /// The aggregate's version, counting every event under the subject from 1.
    pub sequence: i64,
    /// The version of the data's schema.
    pub schema_version: u16,
    /// The request that caused it.
    pub context: Context,
    /// The encoded [`Value`].
    pub value: Vec<u8>,
}

/// A record that can't be read as an event.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// A header that every event has is absent.
    #[error("header {0} is missing")]
    MissingHeader(&'static str),
    /// A header's value is invalid.
    #[error("header {name} is malformed: {value:?}")]
    BadHeader {
        /// The header's name.
        name: &'static str,
        /// The value found.
        value: String,
    },
    /// The record's key is not the subject, so its place among the subject's events is not known.
    #[error("the key {key:?} is not the subject {subject:?}")]
    KeyIsNotSubject {
        /// The record's key.
        key: Option<String>,
        /// The subject in the header.
        subject: String,
    },
    /// The value is not JSON of the expected shape.
    #[error("the value of {event_type} can't be read")]
    Value {
        /// The type it claims to be.
        event_type: String,
        /// The parser's error.
        #[source]
        source: serde_json::Error,
    },
    /// Written by a newer release than this reader.
    #[error("{event_type} has schema version {found}, this reader knows up to {known}")]
    UnknownSchema {
        /// The event's type.
        event_type: String,
        /// The version in the header.
        found: u16,
        /// The version compiled in.
        known: u16,
    },
}

/// RFC 3339 UTC with milliseconds: the one way timestamps are written, on topics and over HTTP.
pub fn timestamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

impl Envelope {
    /// Wraps `event` as version `sequence` of its subject.
    ///
    /// # Errors
    /// When the event can't be written as JSON (a map with keys that are no strings).
    pub fn new<E: Event>(
        id: Uuid,
        service: &str,
        time: DateTime<Utc>,
        sequence: i64,
        context: Context,
        event: &E,
    ) -> Result<Self, serde_json::Error> {
        let value = serde_json::to_vec(&Value {
            event_type: E::TYPE.to_owned(),
            timestamp: timestamp(time),
            data: event,
        })?;
        Ok(Self {
            id,
            topic: E::TOPIC.name.to_owned(),
            event_type: E::TYPE.to_owned(),
            source: format!("/services/{service}"),
            time,
            subject: event.subject(),
            sequence,
            schema_version: E::VERSION,
            context,
            value,
        })
    }

    /// The event's data when it is an `E`; `None` for another type on the same topic.
    pub fn open<E: Event>(&self) -> Option<Result<E, Malformed>> {
        if self.event_type != E::TYPE {
            return None;
        }
        if self.schema_version > E::VERSION {
            return Some(Err(Malformed::UnknownSchema {
                event_type: self.event_type.clone(),
                found: self.schema_version,
                known: E::VERSION,
            }));
        }
        let value = serde_json::from_slice::<Value<E>>(&self.value);
        Some(match value {
            Ok(value) => Ok(value.data),
            Err(source) => Err(Malformed::Value {
                event_type: self.event_type.clone(),
                source,
            }),
        })
    }

    /// The headers as they stand on the record.
    pub fn headers(&self) -> Headers {
        let Context {
            traceparent,
            tracestate,
            correlation_id,
        } = &self.context;
        let traceparent = traceparent.as_ref().map(Traceparent::as_str);
        let owned = |text: &str| text.to_owned();
        let headers = [
            (header::SPEC_VERSION, Some("1.0".into())),
            (header::ID, Some(self.id.to_string())),
            (header::TYPE, Some(self.event_type.clone())),
            (header::SOURCE, Some(self.source.clone())),
            (header::TIME, Some(timestamp(self.time))),
            (header::SUBJECT, Some(self.subject.clone())),
            (header::SEQUENCE, Some(self.sequence.to_string())),
            (header::DATA_SCHEMA, Some(self.schema_version.to_string())),
            (header::TRACEPARENT, traceparent.map(owned)),
            (header::TRACESTATE, tracestate.as_deref().map(owned)),
            (header::CORRELATION_ID, correlation_id.as_deref().map(owned)),
        ];
        let mut present = Vec::with_capacity(headers.len());
        let named = headers.into_iter();
        present.extend(named.filter_map(|(name, value)| Some((name.to_owned(), value?))));
        present
    }

    /// The record that carries it.
    pub fn message(&self) -> Message {
        Message {
            topic: self.topic.clone(),
            key: self.subject.clone(),
            headers: self.headers(),
            value: self.value.clone(),
            time: self.time,
        }
    }

    /// Reads a record's headers; the value stays closed until [`Envelope::open`].
    ///
    /// # Errors
    /// When a header is absent or malformed, or the key is not the subject.
    pub fn read(
        topic: &str,
        key: Option<&str>,
        headers: &Headers,
        value: &[u8],
    ) -> Result<Self, Malformed> {
        let need = |name: &'static str| find(headers, name).ok_or(Malformed::MissingHeader(name));
        let sequence: i64 = parse(header::SEQUENCE, need(header::SEQUENCE)?)?;
        if sequence < 1 {
            return Err(bad(header::SEQUENCE, &sequence.to_string()));
        }
        let text = |name: &'static str| match need(name)? {
            // Not every store takes control characters, and no name has any.
            value if value.chars().any(char::is_control) => Err(bad(name, value)),
            value => Ok(value.to_owned()),
        };
        let subject = text(header::SUBJECT)?;
        if key != Some(&subject) {
            let key = key.map(str::to_owned);
            return Err(Malformed::KeyIsNotSubject { key, subject });
        }
        Ok(Self {
            id: parse(header::ID, need(header::ID)?)?,
            topic: topic.to_owned(),
            event_type: text(header::TYPE)?,
            source: find(headers, header::SOURCE).unwrap_or_default().to_owned(),
            time: parse(header::TIME, need(header::TIME)?)?,
            subject,
            sequence,
            schema_version: find(headers, header::DATA_SCHEMA)
                .map_or(Ok(1), |value| parse(header::DATA_SCHEMA, value))?,
            context: Context::of(headers),
            value: value.to_vec(),
        })
    }
}

fn parse<T: std::str::FromStr>(name: &'static str, value: &str) -> Result<T, Malformed> {
    value.parse().map_err(|_| bad(name, value))
}

fn bad(name: &'static str, value: &str) -> Malformed {
    let value = value.to_owned();
    Malformed::BadHeader { name, value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::posts::PostDeleted;

    const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    fn envelope() -> Envelope {
        let event = PostDeleted {
            post_id: Uuid::from_u128(7),
            user_id: 3,
        };
        let time = DateTime::from_timestamp_millis(1_767_268_800_123).unwrap();
        let context = Context {
            traceparent: Traceparent::parse(TRACEPARENT),
            tracestate: Some("rojo=1".into()),
            correlation_id: Some("c-1".into()),
        };
        Envelope::new(Uuid::from_u128(1), "posts", time, 2, context, &event).unwrap()
    }

    #[test]
    fn what_was_written_is_read_back() {
        let written = envelope();
        let read = Envelope::read(
            &written.topic,
            Some(&written.subject),
            &written.headers(),
            &written.value,
        )
        .unwrap();
        assert_eq!(read, written);
        assert_eq!(read.open::<PostDeleted>().unwrap().unwrap().user_id, 3);
    }

    #[test]
    fn a_trace_that_is_none_is_passed_over_with_its_state() {
        let mut headers = envelope().headers();
        let traceparent = headers
            .iter_mut()
            .find(|(name, _)| name == header::TRACEPARENT);
        traceparent.unwrap().1 = "00-nonsense".to_owned();
        let written = envelope();
        let read = Envelope::read("posts-events", Some(&written.subject), &headers, b"{}").unwrap();
        assert_eq!(
            (read.context.traceparent, read.context.tracestate),
            (None, None)
        );
        assert_eq!(read.context.correlation_id.as_deref(), Some("c-1"));
    }

    #[test]
    fn a_missing_or_malformed_header_is_named() {
        let written = envelope();
        for name in [header::ID, header::TYPE, header::SEQUENCE, header::SUBJECT] {
            let mut headers = written.headers();
            headers.retain(|(key, _)| key != name);
            let error = Envelope::read("posts-events", Some(&written.subject), &headers, b"{}")
                .unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
        for bad in ["0", "-1", "x", "99999999999999999999"] {
            let mut headers = written.headers();
            headers[6].1 = bad.to_owned();
            let error = Envelope::read("posts-events", Some(&written.subject), &headers, b"{}")
                .unwrap_err();
            assert!(error.to_string().contains(header::SEQUENCE), "{error}");
        }
    }

    #[test]
    fn a_foreign_key_and_control_characters_are_refused() {
        let written = envelope();
        for key in [None, Some("another")] {
            let error = Envelope::read("posts-events", key, &written.headers(), b"{}");
            assert!(matches!(error, Err(Malformed::KeyIsNotSubject { .. })));
        }
        for at in [2, 5] {
            let mut headers = written.headers();
            headers[at].1 = "a\0b".to_owned();
            let error = Envelope::read("posts-events", Some(&written.subject), &headers, b"{}");
            assert!(matches!(error, Err(Malformed::BadHeader { .. })));
        }
    }

    #[test]
    fn a_newer_schema_is_refused_and_an_unknown_field_is_not() {
        let mut event = envelope();
        event.schema_version = PostDeleted::VERSION + 1;
        assert!(matches!(
            event.open::<PostDeleted>(),
            Some(Err(Malformed::UnknownSchema { .. }))
        ));
        let mut event = envelope();
        event.value = br#"{"event_type":"post.deleted","timestamp":"t","extra":1,
            "data":{"post_id":"00000000-0000-0000-0000-000000000007","user_id":3,"more":true}}"#
            .to_vec();
        assert!(event.open::<PostDeleted>().unwrap().is_ok());
    }
}
