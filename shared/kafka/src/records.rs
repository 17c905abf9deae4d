//! Messages as Kafka's records, and back.

use blocks::bus::Record;
use chrono::DateTime;
use events::Message;
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders};

/// The headers of `message`, one to one.
pub(crate) fn headers(message: &Message) -> OwnedHeaders {
    let headers = OwnedHeaders::new_with_capacity(message.headers.len());
    message
        .headers
        .iter()
        .fold(headers, |headers, (key, value)| {
            headers.insert(Header {
                key,
                value: Some(value),
            })
        })
}

/// A record as it came. Where our records have text and this one has not, it is not ours: it is kept
/// readable, and opening it shows that it is no event.
pub(crate) fn record(message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().map(|headers| {
        let headers = headers.iter();
        headers
            .map(|header| {
                let value = header.value.unwrap_or_default();
                (header.key.to_owned(), text(value))
            })
            .collect()
    });
    let time = message.timestamp().to_millis().unwrap_or_default();
    Record {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(text),
        headers: headers.unwrap_or_default(),
        value: message.payload().unwrap_or_default().to_vec(),
        time: DateTime::from_timestamp_millis(time).unwrap_or_default(),
    }
}

/// About what a record takes up in memory.
pub(crate) fn size(record: &Record) -> usize {
    let headers = record.headers.iter();
    let headers: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
    size_of::<Record>() + record.value.len() + headers
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
