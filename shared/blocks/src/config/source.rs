//! Where settings come from, and what is said about one that is wrong.

use std::path::Path;

use figment::providers::{Env, Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use strsim::levenshtein;

use super::{ConfigError, SETTINGS, parts};

/// What stands for a secret.
pub(super) const MASK: &str = "********";

/// A setting in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its name as an environment variable.
    pub name: &'static str,
    /// Its value; masked when it is a secret, empty when absent.
    pub value: String,
    /// `default`, `environment`, or the file's name.
    pub source: String,
}

/// One layer: names in capitals, values as they were written.
struct Layer {
    name: String,
    values: Vec<(String, String)>,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        // As strings: figment would read a SECRET_KEY of digits as a number and lose its zeros.
        let values = self.values.iter();
        let dict = values
            .map(|(name, value)| (name.clone(), Value::from(value.clone())))
            .collect();
        Ok(Map::from([(Profile::Default, dict)]))
    }
}

/// The variables of the environment that are ours, but for the empty ones.
pub(super) fn environment() -> Vec<(String, String)> {
    let names: Vec<&str> = SETTINGS
        .iter()
        .map(|setting| setting.name)
        .chain(["ROOKERY_CONFIG"])
        .collect();
    Env::raw()
        .only(&names)
        .iter()
        .map(|(name, value)| (name.as_str().to_ascii_uppercase(), value))
        .filter(|(_, value)| !value.trim().is_empty())
        .collect()
}

/// A file's name and text.
pub(super) fn read(path: &Path) -> Result<(String, String), ConfigError> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((name, text)),
        Err(error) => Err(ConfigError::File {
            path: name,
            reason: error.to_string(),
        }),
    }
}

/// All layers, merged.
pub(super) struct Sources(Figment);

impl Sources {
    pub(super) fn merge(
        file: Option<(String, String)>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let defaults = SETTINGS
            .iter()
            .filter(|setting| !setting.default.is_empty());
        let mut merged = Figment::from(Layer {
            name: "default".into(),
            values: defaults
                .map(|setting| (setting.name.to_owned(), setting.default.to_owned()))
                .collect(),
        });
        if let Some((path, text)) = file {
            let values = read_toml(&path, &text)?;
            merged = merged.merge(Layer { name: path, values });
        }
        let known = |name: &str| SETTINGS.iter().any(|setting| setting.name == name);
        let given = environment
            .into_iter()
            .filter(|(name, value)| known(name) && !value.trim().is_empty());
        let mut sources = Self(merged.merge(Layer {
            name: "environment".into(),
            values: given.collect(),
        }));
        for whole in parts::WHOLES {
            if sources.said(whole.name).is_none()
                && let Some(value) = whole.compose(&sources)?
            {
                sources.0 = sources.0.merge(Layer {
                    name: whole.parts.join(", "),
                    values: vec![(whole.name.to_owned(), value)],
                });
            }
        }
        Ok(sources)
    }

    /// What `name` says, unless that is nothing but blanks.
    pub(super) fn said(&self, name: &'static str) -> Option<String> {
        let said = self.optional(name);
        said.map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty())
    }

    /// What `name` says, where it says anything.
    pub(super) fn optional(&self, name: &'static str) -> Option<String> {
        self.0.find_value(name).ok().and_then(Value::into_string)
    }

    /// What `name` says, as `parse` reads it.
    pub(super) fn parse<T>(
        &self,
        name: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let text = self.optional(name).unwrap_or_default();
        parse(text.trim()).ok_or_else(|| self.refuse(name, expected))
    }

    /// The error that says what `name` must be.
    pub(super) fn refuse(&self, name: &'static str, expected: &str) -> ConfigError {
        let Row { value, source, .. } = self.row(name);
        let found = match value.trim() {
            MASK => "too weak".into(),
            "" => "not set".into(),
            _ => format!("{value:?}"),
        };
        ConfigError::Value {
            name,
            found,
            source_name: source,
            expected: expected.to_owned(),
        }
    }

    /// All settings as they are in force.
    pub(super) fn rows(&self) -> Vec<Row> {
        SETTINGS
            .iter()
            .map(|setting| self.row(setting.name))
            .collect()
    }

    fn row(&self, name: &'static str) -> Row {
        let secret = SETTINGS
            .iter()
            .any(|setting| setting.name == name && setting.secret);
        let value = self.optional(name);
        let source = self
            .0
            .find_metadata(name)
            .map_or("default", |metadata| &*metadata.name);
        Row {
            name,
            source: source.to_owned(),
            value: match value {
                Some(value) if secret && !value.trim().is_empty() => MASK.to_owned(),
                value => value.unwrap_or_default(),
            },
        }
    }
}

/// A file's settings by their names in capitals.
fn read_toml(path: &str, text: &str) -> Result<Vec<(String, String)>, ConfigError> {
    let broken = |reason: String| ConfigError::File {
        path: path.to_owned(),
        reason,
    };
    let profiles = Toml::string(text)
        .data()
        .map_err(|_| broken(where_broken(text)))?;
    let mut values = Vec::new();
    for (key, value) in profiles.into_values().flatten() {
        let name = key.to_ascii_uppercase();
        if !SETTINGS.iter().any(|setting| setting.name == name) {
            return Err(ConfigError::UnknownKey {
                path: path.to_owned(),
                hint: nearest(&name),
                key,
            });
        }
        let value = written(&value).ok_or_else(|| {
            broken(format!(
                "{key} is a {}, expected a single value",
                value.to_actual()
            ))
        })?;
        values.push((name, value));
    }
    Ok(values)
}

/// Where `text` is no TOML, and why. Parsers show the line itself, and a secret may stand there.
fn where_broken(text: &str) -> String {
    let Err(error) = toml::from_str::<toml::Table>(text) else {
        return "it is not as it must be".into();
    };
    let reason = error.message().trim().replace('\n', ", ");
    let before = error.span().and_then(|span| text.get(..span.start));
    let Some(before) = before else {
        return reason;
    };
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    format!(
        "line {}, column {}: {reason}",
        before.matches('\n').count() + 1,
        before[start..].chars().count() + 1,
    )
}

fn written(value: &Value) -> Option<String> {
    match value {
        Value::String(_, text) => Some(text.clone()),
        Value::Char(_, char) => Some(char.to_string()),
        Value::Bool(_, switch) => Some(switch.to_string()),
        Value::Num(_, number) => number
            .to_i128()
            .map(|number| number.to_string())
            .or_else(|| number.to_u128().map(|number| number.to_string()))
            .or_else(|| number.to_f64().map(|number| number.to_string())),
        Value::Empty(..) => Some(String::new()),
        Value::Array(_, items) => items
            .iter()
            .map(written)
            .collect::<Option<Vec<_>>>()
            .map(|all| all.join(",")),
        Value::Dict(..) => None,
    }
}

/// The setting whose name has most in common with `name`, when that is enough to suggest it.
fn nearest(name: &str) -> Option<&'static str> {
    SETTINGS
        .iter()
        .map(|setting| (levenshtein(setting.name, name), setting.name))
        .min()
        .filter(|(distance, known)| *distance <= (known.len() / 3).max(2))
        .map(|(_, known)| known)
}
