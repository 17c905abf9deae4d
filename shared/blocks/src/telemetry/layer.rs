//! Turns an event into a line: collects its fields, those of its spans and the request's ids, masks
//! secrets, and hands the line to the writer.

use std::borrow::Cow;

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::fields::{Fields, Value};
use super::writer::Writer;
use super::{human, json, redact};
use crate::clock::{Clock, SystemClock};
use crate::context::{self, Cause};

/// The field with a span's name that is made as it runs, as OpenTelemetry's layer takes it.
const SPAN_NAME: &str = "otel.name";

/// The format of log lines.
#[derive(Debug, Clone, Copy)]
pub(super) enum Format {
    Human { colour: bool },
    Json,
}

/// The layer that writes lines.
pub(super) struct Lines {
    /// The name in lines that say no other.
    pub service: String,
    pub format: Format,
    pub redacts: bool,
    pub writer: Writer,
}

/// An event with all that is known about it.
pub(super) struct Line<'a> {
    pub time: String,
    pub level: Level,
    pub service: &'a str,
    pub target: &'a str,
    pub action: Option<Cow<'a, str>>,
    pub cause: Option<&'a Cause>,
    pub message: Cow<'a, str>,
    pub fields: Vec<(&'static str, Value)>,
}

impl Lines {
    fn masked(&self, fields: &mut [(&'static str, Value)]) {
        if !self.redacts {
            return;
        }
        for (name, value) in fields {
            if redact::is_secret(name) {
                *value = Value::Text(redact::MASK.into());
            } else if let Value::Text(text) = value
                && let Cow::Owned(masked) = redact::redact(text)
            {
                *text = masked;
            }
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, registry: Context<'_, S>) {
        if attributes.is_empty() {
            return;
        }
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = registry.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, registry: Context<'_, S>) {
        if let Some(span) = registry.span(id) {
            let mut extensions = span.extensions_mut();
            let mut fields = extensions.remove::<Fields>().unwrap_or_default();
            values.record(&mut fields);
            extensions.insert(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, registry: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut action = None;
        for span in registry.event_scope(event).into_iter().flatten() {
            let extensions = span.extensions();
            let outer = extensions.get::<Fields>();
            action.get_or_insert_with(|| {
                let said = outer.and_then(|fields| fields.text(SPAN_NAME));
                said.map_or(Cow::Borrowed(span.name()), |said| said.to_owned().into())
            });
            // The nearest span's value of a name is the one that holds.
            for (name, value) in outer.into_iter().flat_map(|outer| &outer.values) {
                if *name != SPAN_NAME && !fields.values.iter().any(|(known, _)| known == name) {
                    fields.values.push((name, value.clone()));
                }
            }
        }
        let service = fields.text("service").map(str::to_owned);
        fields.values.retain(|(name, _)| *name != "service");
        self.masked(&mut fields.values);
        let cause = context::cause();
        let metadata = event.metadata();
        let line = Line {
            time: events::timestamp(SystemClock.now()),
            level: *metadata.level(),
            service: service.as_deref().unwrap_or(&self.service),
            target: metadata.target(),
            action,
            cause: cause.as_ref(),
            message: if self.redacts {
                redact::redact(&fields.message)
            } else {
                Cow::Borrowed(&fields.message)
            },
            fields: fields.values,
        };
        let mut out = Vec::with_capacity(512);
        match self.format {
            Format::Json => json::write(&line, &mut out),
            Format::Human { colour } => human::write(&line, colour, &mut out),
        }
        self.writer.write(&out);
    }
}
