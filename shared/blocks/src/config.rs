//! Configuration: the environment over `.env`, over an optional TOML file, over defaults. This is the only
//! reader of the environment.
//!
//! A [`Setting`] belongs to its reader: the process's own are in [`process`], those of a service in its
//! definition. A process loads its own and those of its services.

pub mod process;
mod setting;
mod source;
mod values;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;

pub use process::{Config, PROCESS};
pub use setting::{AnySetting, NAME, Parts, Said, Setting, Settings, WrongPart, help};
pub use source::Row;
pub use values::{Durability, Environment, LogFormat, Secret};

use crate::telemetry;
use source::Given;

/// A setting in force, with its value.
#[derive(Clone)]
struct Value {
    of: &'static dyn AnySetting,
    /// Its name in full, where it is one of a family.
    name: Cow<'static, str>,
    said: Secret,
    source: String,
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.row().fmt(f)
    }
}

impl Value {
    fn row(&self) -> Row {
        let value = match self.said.expose() {
            said if self.of.is_secret() && !said.is_empty() => source::MASK,
            said => said,
        };
        Row {
            setting: self.of.name(),
            name: self.name.clone(),
            value: value.to_owned(),
            source: self.source.clone(),
        }
    }

    /// The error about a wrong value.
    fn refuse(&self, expected: &str) -> ConfigError {
        let row = self.row();
        ConfigError::Value {
            name: row.name,
            found: match &*row.value {
                source::MASK => "too weak".into(),
                "" => "not set".into(),
                _ => format!("{:?}", row.value),
            },
            source_name: row.source,
            expected: expected.to_owned(),
        }
    }
}

/// An environment variable that is no setting, but looks like one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// The variable's name.
    pub name: String,
    /// The setting that was probably meant. Several where the names only begin alike, none where it has but
    /// our own name in front.
    pub meant: Vec<&'static str>,
}

/// The reason why a process can't start with its configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read or is not TOML.
    #[error("could not read {path}: {reason}")]
    File {
        /// The file's path.
        path: String,
        /// The fault in it.
        reason: String,
    },
    /// The file has a key that means nothing.
    #[error("{path} has an unknown key {key:?}{}", hint.map(|known| format!(", did you mean {known:?}?")).unwrap_or_default())]
    UnknownKey {
        /// The file's path.
        path: String,
        /// The key.
        key: String,
        /// The known key nearest to it.
        hint: Option<&'static str>,
    },
    /// A value is not valid.
    #[error("{name} is {found} (from {source_name}), expected {expected}")]
    Value {
        /// The setting.
        name: Cow<'static, str>,
        /// The value found; masked when it is a secret.
        found: String,
        /// The source of the value.
        source_name: String,
        /// The values that would be right.
        expected: String,
    },
}

/// The least length of a secret that is worth the name, in bytes.
const SECRET_BYTES: usize = 32;
/// How many of them must differ: a random secret of that length has twice as many.
const SECRET_DISTINCT: usize = 8;

impl Config {
    /// Reads the environment over the file `.env` of the working folder, over the file at `path` (or at
    /// `ROOKERY_CONFIG`), over the defaults, for the process's settings and `more`. An empty variable counts
    /// as absent.
    ///
    /// # Errors
    /// When the file can't be read, has an unknown key, or a value is wrong. The message names the setting,
    /// its value and what was expected.
    pub fn load(
        path: Option<&Path>,
        more: &[&'static dyn AnySetting],
    ) -> Result<Self, ConfigError> {
        let environment = source::environment();
        let dot_env = source::dot_env()?;
        let beside = match &dot_env {
            Some((name, text)) => source::read_dot_env(name, text)?,
            None => Vec::new(),
        };
        let mut variables = environment.iter().chain(&beside);
        let named = variables.find(|(name, _)| name == source::FILE_VARIABLE);
        let path = path
            .map(Path::to_owned)
            .or_else(|| named.map(|(_, path)| path.into()));
        let file = path.map(|path| source::read(&path)).transpose()?;
        Self::merged(file, dot_env, environment, more)
    }

    /// Puts a file (its name and text) and variables together, as [`Config::load`] does.
    ///
    /// # Errors
    /// See [`Config::load`].
    pub fn from_sources(
        file: Option<Given>,
        environment: impl IntoIterator<Item = (String, String)>,
        more: &[&'static dyn AnySetting],
    ) -> Result<Self, ConfigError> {
        Self::merged(file, None, environment, more)
    }

    fn merged(
        file: Option<Given>,
        dot_env: Option<Given>,
        environment: impl IntoIterator<Item = (String, String)>,
        more: &[&'static dyn AnySetting],
    ) -> Result<Self, ConfigError> {
        let settings = PROCESS.iter().chain(more).copied();
        let (values, unknown) = source::merge(file, dot_env, environment, settings)?;
        let mut all = values.iter();
        match all.find(|value| !value.of.accepts(value.said.expose())) {
            Some(wrong) => Err(wrong.refuse(wrong.of.expected())),
            None => Ok(Self::of(values, unknown)),
        }
    }

    /// The value of `setting`; its default if this process was not loaded with it.
    pub fn get<T>(&self, setting: &Setting<T>) -> T {
        read(&self.values, setting)
    }

    /// The values of a family of settings that were given, by what stands for [`setting::NAME`] in their names.
    pub fn named<T>(&self, family: &Setting<T>) -> Vec<(String, T)> {
        let Some((begin, end)) = setting::family(family.name) else {
            return Vec::new();
        };
        let given = self.values.iter().filter_map(|value| {
            let name = value.name.strip_prefix(begin)?.strip_suffix(end)?;
            let is_given = value.of.name() == family.name && name != setting::NAME;
            // Every value was judged when it was loaded.
            let said = is_given.then(|| (family.parse)(value.said.expose()))?;
            Some((name.to_owned(), said?))
        });
        given.collect()
    }

    /// The settings of this process's log.
    pub fn telemetry(&self) -> telemetry::Settings {
        let said = self.show().find(|row| row.name == "LOG_LEVEL");
        let by_default = said.is_some_and(|row| row.source == source::DEFAULT);
        let level = if self.debug && by_default {
            "debug"
        } else {
            &self.log_level
        };
        telemetry::Settings {
            name: self.app_name.clone(),
            enabled: self.logging_enabled,
            level: level.to_owned(),
            json: self.log_format == LogFormat::Json,
            redacts: self.log_redaction_enabled,
        }
    }

    /// The value of a secret, whatever else its type says.
    pub fn secret(&self, setting: &dyn AnySetting) -> Option<Secret> {
        said(&self.values, setting.name()).map(Secret::new)
    }

    /// Every setting with its value and where that came from, secrets masked.
    pub fn show(&self) -> impl Iterator<Item = Row> {
        self.values.iter().map(Value::row)
    }

    /// Settings composed of others, with the names of those: an error about the whole is about its parts.
    pub fn composed(&self) -> impl Iterator<Item = Row> {
        let composed = self.values.iter().filter(|value| {
            let parts = value.of.parts();
            parts.is_some_and(|parts| value.source == parts.names.join(", "))
        });
        composed.map(Value::row)
    }

    /// Environment variables that look like settings but are none.
    pub fn unknown(&self) -> &[Unknown] {
        &self.unknown
    }

    /// Refuses, in production, keys that could be guessed, and a process that may lose events. Called where they
    /// are used: a command that encrypts nothing should not need the secret.
    ///
    /// # Errors
    /// Names the first one.
    pub fn judge(&self) -> Result<(), ConfigError> {
        let production = self.environment == Environment::Production;
        let mut all = self.values.iter();
        let outbox = all.find(|value| value.of.name() == "KAFKA_ENABLE_OUTBOX");
        if let Some(off) = outbox.filter(|_| production && !self.kafka_enable_outbox) {
            return Err(off.refuse("true when ENVIRONMENT is production: no event may be lost"));
        }
        let mut keys = self.values.iter().filter(|value| value.of.is_strong());
        match keys.find(|value| !is_strong(value.said.expose())) {
            Some(weak) if production => Err(weak.refuse(weak.of.expected())),
            _ => Ok(()),
        }
    }
}

/// Whether a secret is long and varied enough not to be guessed.
pub fn is_strong(secret: &str) -> bool {
    let bytes = secret.as_bytes();
    let distinct: BTreeSet<&u8> = bytes.iter().collect();
    bytes.len() >= SECRET_BYTES && distinct.len() >= SECRET_DISTINCT
}

/// The value of `name`, unless it is blank.
fn said<'a>(values: &'a [Value], name: &str) -> Option<&'a str> {
    let value = values.iter().find(|value| value.name == name)?;
    Some(value.said.expose()).filter(|said| !said.is_empty())
}

fn read<T>(values: &[Value], setting: &Setting<T>) -> T {
    let value = values.iter().find(|value| value.name == setting.name);
    let said = value.map_or(setting.default, |value| value.said.expose());
    (setting.parse)(said).expect("every value was judged when it was loaded")
}

impl Default for Config {
    /// The defaults alone, whatever the environment says.
    fn default() -> Self {
        Self::from_sources(None, [], &[]).expect("the defaults are valid: a test loads them")
    }
}

#[cfg(test)]
mod tests;
