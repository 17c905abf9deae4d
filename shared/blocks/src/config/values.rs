//! Types of settings' values.

use std::fmt;
use std::time::Duration;

/// A value that is not to be seen.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `value` out of logs.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(super::source::MASK)
    }
}

named! {
    /// The purpose of the process.
    pub enum Environment {
        /// On somebody's desk: a weak secret will do.
        Development = "development",
        /// For others to rely on: weak secrets stop the start.
        Production = "production",
    }
}

named! {
    /// The faults that an acknowledged write survives.
    pub enum Durability {
        /// A power cut.
        Full = "full",
        /// A crash of the process, not of the machine.
        Process = "process",
    }
}

named! {
    /// The format of log lines.
    pub enum LogFormat {
        /// For a terminal.
        Human = "human",
        /// One object a line.
        Json = "json",
    }
}

pub(super) const SWITCH: &str = "true or false";
pub(super) const SECONDS: &str = "a number of seconds, 1 to 31536000";
const YEAR: u64 = 31_536_000;

pub(super) fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

pub(super) fn seconds(text: &str) -> Option<Duration> {
    let seconds = text
        .parse()
        .ok()
        .filter(|seconds| (1..=YEAR).contains(seconds))?;
    Some(Duration::from_secs(seconds))
}

pub(super) fn at_least_one(text: &str) -> Option<usize> {
    text.parse().ok().filter(|number| *number > 0)
}

pub(super) fn non_empty(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

pub(super) fn origins(text: &str) -> Option<Vec<String>> {
    let origins = text
        .split(',')
        .map(str::trim)
        .filter(|origin| !origin.is_empty());
    origins
        .map(|origin| is_origin(origin).then(|| origin.to_owned()))
        .collect()
}

/// As a browser writes it, since anything else would never match: `scheme://host[:port]` in lower
/// case, without the scheme's own port.
fn is_origin(text: &str) -> bool {
    text == "*"
        || text
            .parse::<http::Uri>()
            .is_ok_and(|uri| written(&uri).is_some_and(|written| written == text))
}

fn written(uri: &http::Uri) -> Option<String> {
    let (scheme, usual) = match uri.scheme_str()? {
        "http" => ("http", 80),
        "https" => ("https", 443),
        _ => return None,
    };
    let host = uri.host()?.to_ascii_lowercase();
    Some(match uri.port_u16().filter(|port| *port != usual) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    })
}
