//! One JSON object a line.

use std::io::Write as _;

use serde::Serialize;
use tracing::Level;

use super::layer::Line;
use crate::context::Cause;

/// Fields that every line has; another field of the same name would be there twice.
const OWN: [&str; 10] = [
    "timestamp",
    "level",
    "service",
    "target",
    "trace_id",
    "span_id",
    "parent_span_id",
    "correlation_id",
    "action",
    "message",
];

pub(super) fn write(line: &Line<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"timestamp\":\"");
    out.extend_from_slice(line.time.as_bytes());
    out.extend_from_slice(b"\",\"level\":\"");
    out.extend_from_slice(level(line.level).as_bytes());
    out.push(b'"');
    member(out, "service", line.service);
    if let Some(trace) = line.cause.map(Cause::trace) {
        if let Some(traceparent) = &trace.own.traceparent {
            member(out, "trace_id", traceparent.trace_id());
            member(out, "span_id", traceparent.span_id());
        }
        if let Some(parent) = &trace.parent {
            member(out, "parent_span_id", parent.span_id());
        }
        if let Some(correlation_id) = &trace.own.correlation_id {
            member(out, "correlation_id", &**correlation_id);
        }
    }
    if let Some(action) = &line.action {
        member(out, "action", &**action);
    }
    let request = line.cause.and_then(Cause::request);
    let user_id = request.and_then(|request| request.user_id.get());
    if let Some(user_id) = user_id {
        member(out, "user_id", user_id);
    }
    member(out, "message", &*line.message);
    for (name, value) in &line.fields {
        if OWN.contains(name) || (*name == "user_id" && user_id.is_some()) {
            continue;
        }
        member(out, name, value);
    }
    member(out, "target", line.target);
    out.extend_from_slice(b"}\n");
}

fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

fn member<T: Serialize + ?Sized>(out: &mut Vec<u8>, name: &str, value: &T) {
    out.push(b',');
    let wrote = serde_json::to_writer(&mut *out, name)
        .map_err(std::io::Error::from)
        .and_then(|()| out.write_all(b":"))
        .and_then(|()| serde_json::to_writer(&mut *out, value).map_err(std::io::Error::from));
    wrote.expect("texts and numbers are always JSON, and memory takes them");
}
