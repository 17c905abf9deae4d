//! A compact line for people: time, level, where, what, and the fields.

use std::fmt::Write as _;

use tracing::Level;

use super::fields::Value;
use super::layer::Line;
use crate::context::{ACCESS, Cause};

const DIM: &str = "\u{1b}[2m";
const PLAIN: &str = "\u{1b}[0m";

pub(super) fn write(line: &Line<'_>, colour: bool, out: &mut Vec<u8>) {
    let (dim, plain) = if colour { (DIM, PLAIN) } else { ("", "") };
    let level = if colour { shade(line.level) } else { "" };
    let mut text = String::with_capacity(256);
    let place = line.action.as_deref().unwrap_or(line.target);
    // `2026-01-01T12:00:00.000Z` without its date: that is in the JSON lines.
    let time = line.time.get(11..23).unwrap_or(&line.time);
    let mut add = |part: std::fmt::Arguments<'_>| {
        text.write_fmt(part)
            .expect("writing to a string does not fail");
    };
    add(format_args!(
        "{dim}{time}{plain} {level}{:<5}{plain} {dim}{} {place}{plain} {}",
        line.level.as_str(),
        line.service,
        OneLine(&line.message),
    ));
    for (name, value) in &line.fields {
        // The message of an access line says these already.
        if line.target == ACCESS && ["method", "route", "status"].contains(name) {
            continue;
        }
        match value {
            Value::Text(text) => add(format_args!(" {dim}{name}={plain}{}", OneLine(text))),
            Value::Signed(number) => add(format_args!(" {dim}{name}={plain}{number}")),
            Value::Unsigned(number) => add(format_args!(" {dim}{name}={plain}{number}")),
            Value::Float(number) => add(format_args!(" {dim}{name}={plain}{number}")),
            Value::Switch(switch) => add(format_args!(" {dim}{name}={plain}{switch}")),
        }
    }
    let request = line.cause.and_then(Cause::request);
    if let Some(user_id) = request.and_then(|request| request.user_id.get()) {
        add(format_args!(" {dim}user_id={plain}{user_id}"));
    }
    if let Some(trace) = line.cause.map(|cause| cause.trace().id())
        && !trace.is_empty()
    {
        add(format_args!(" {dim}trace_id={trace}{plain}"));
    }
    out.extend_from_slice(text.as_bytes());
    out.push(b'\n');
}

fn shade(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\u{1b}[31m",
        Level::WARN => "\u{1b}[33m",
        Level::INFO => "\u{1b}[32m",
        Level::DEBUG => "\u{1b}[34m",
        Level::TRACE => "\u{1b}[35m",
    }
}

/// A text that can't start a line of its own or colour the terminal: its control characters are escaped.
struct OneLine<'a>(&'a str);

impl std::fmt::Display for OneLine<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for letter in self.0.chars() {
            if letter.is_control() {
                write!(out, "{}", letter.escape_default())?;
            } else {
                out.write_char(letter)?;
            }
        }
        Ok(())
    }
}
