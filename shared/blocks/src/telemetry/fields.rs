//! The fields of events and spans, as values that can be masked and written.

use std::fmt;

use serde::Serialize;
use tracing::field::{Field, Visit};

/// A field's value.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(super) enum Value {
    Text(String),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Switch(bool),
}

/// Fields in the order they were given, without the message.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields {
    pub message: String,
    pub values: Vec<(&'static str, Value)>,
}

impl Fields {
    /// Sets a field; a span may record one again.
    fn set(&mut self, field: &Field, value: Value) {
        let name = field.name();
        if let Some(known) = self.values.iter_mut().find(|(known, _)| *known == name) {
            known.1 = value;
        } else {
            self.values.push((name, value));
        }
    }

    fn set_text(&mut self, field: &Field, text: String) {
        if field.name() == "message" {
            self.message = text;
        } else {
            self.set(field, Value::Text(text));
        }
    }

    /// The value of `name`, when it is a text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.values.iter().find_map(|(known, value)| match value {
            Value::Text(text) if *known == name => Some(text.as_str()),
            _ => None,
        })
    }
}

impl Visit for Fields {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, Value::Signed(value));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, Value::Unsigned(value));
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, Value::Float(value));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, Value::Switch(value));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set_text(field, value.to_owned());
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.set(field, Value::Text(crate::error::chain(value)));
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set_text(field, format!("{value:?}"));
    }
}
