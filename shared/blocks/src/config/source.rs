//! The sources of settings, and the errors about wrong ones.

use std::collections::BTreeSet;
use std::path::Path;

use figment::providers::{Env, Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use strsim::levenshtein;

use super::{AnySetting, ConfigError, Secret, Unknown, parts};

/// The text shown for a secret.
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

/// Number of wrong characters up to which a variable's name is still taken for a setting.
const TYPOS: usize = 2;
/// Names the file, where no command line does.
pub(super) const FILE_VARIABLE: &str = "ROOKERY_CONFIG";
/// A file's name and text.
pub(super) type Given = (String, String);

/// The variables of the environment, but for the empty ones.
pub(super) fn environment() -> Vec<(String, String)> {
    Env::raw()
        .iter()
        .map(|(name, value)| (name.as_str().to_ascii_uppercase(), value))
        .filter(|(_, value)| !value.trim().is_empty())
        .collect()
}

/// A file's name and text.
pub(super) fn read(path: &Path) -> Result<Given, ConfigError> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((name, text)),
        Err(error) => Err(ConfigError::File {
            path: name,
            reason: error.to_string(),
        }),
    }
}

/// All sources of settings, merged.
pub(super) struct Sources {
    settings: Vec<&'static dyn AnySetting>,
    merged: Figment,
    pub(super) unknown: Vec<Unknown>,
}

impl Sources {
    pub(super) fn merge(
        file: Option<Given>,
        environment: impl IntoIterator<Item = (String, String)>,
        settings: impl Iterator<Item = &'static dyn AnySetting>,
    ) -> Result<Self, ConfigError> {
        let mut names = BTreeSet::new();
        let settings: Vec<_> = settings.filter(|of| names.insert(of.name())).collect();
        let defaults = settings.iter().filter(|of| !of.default().is_empty());
        let mut merged = Figment::from(Layer {
            name: "default".into(),
            values: defaults
                .map(|of| (of.name().to_owned(), of.default().to_owned()))
                .collect(),
        });
        if let Some((path, text)) = file {
            let values = read_toml(&path, &text, &names)?;
            merged = merged.merge(Layer { name: path, values });
        }
        let (given, others): (Vec<_>, Vec<_>) = environment
            .into_iter()
            .filter(|(_, value)| !value.trim().is_empty())
            .partition(|(name, _)| names.contains(name.as_str()));
        merged = merged.merge(Layer {
            name: "environment".into(),
            values: given,
        });
        let unknown = others.into_iter().filter_map(|(name, _)| {
            let meant = mistyped(&name, &names)?;
            Some(Unknown { name, meant })
        });
        let unknown = unknown.collect();
        let mut sources = Self {
            settings,
            merged,
            unknown,
        };
        for whole in parts::WHOLES {
            if names.contains(whole.name)
                && sources.said(whole.name).is_none()
                && let Some(value) = whole.compose(&sources)?
            {
                sources.merged = sources.merged.merge(Layer {
                    name: whole.parts.join(", "),
                    values: vec![(whole.name.to_owned(), value)],
                });
            }
        }
        Ok(sources)
    }

    /// The value of `name`, unless it is blank.
    pub(super) fn said(&self, name: &str) -> Option<String> {
        let said = self
            .merged
            .find_value(name)
            .ok()
            .and_then(Value::into_string);
        said.map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty())
    }

    /// The error about a wrong value of `name`.
    pub(super) fn refuse(&self, name: &'static str, expected: &str) -> ConfigError {
        ConfigError::Value {
            name,
            found: format!("{:?}", self.said(name).unwrap_or_default()),
            source_name: self.source(name),
            expected: expected.to_owned(),
        }
    }

    /// All settings as they are in force.
    pub(super) fn values(&self) -> Vec<super::Value> {
        let value = |of: &&'static dyn AnySetting| super::Value {
            of: *of,
            said: Secret::new(self.said(of.name()).unwrap_or_default()),
            source: self.source(of.name()),
        };
        self.settings.iter().map(value).collect()
    }

    fn source(&self, name: &str) -> String {
        let metadata = self.merged.find_metadata(name);
        metadata
            .map_or("default", |metadata| &*metadata.name)
            .to_owned()
    }
}

/// A file's settings by their names in capitals.
fn read_toml(
    path: &str,
    text: &str,
    names: &BTreeSet<&'static str>,
) -> Result<Vec<(String, String)>, ConfigError> {
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
        if !names.contains(name.as_str()) {
            return Err(ConfigError::UnknownKey {
                path: path.to_owned(),
                hint: nearest(&name, names),
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

/// The place where `text` is no TOML, and the reason. Parsers show the line itself, and a secret may stand
/// there.
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
fn nearest(name: &str, names: &BTreeSet<&'static str>) -> Option<&'static str> {
    let near = names.iter().map(|known| (levenshtein(known, name), *known));
    near.min()
        .filter(|(distance, known)| *distance <= (known.len() / 3).max(2))
        .map(|(_, known)| known)
}

/// The setting that `name` was probably meant to be. Other programs have variables, too: only names of
/// several words count that nearly match one of ours.
fn mistyped(name: &str, names: &BTreeSet<&'static str>) -> Option<&'static str> {
    let meant = nearest(name, names).filter(|known| known.contains('_'))?;
    (levenshtein(meant, name) <= TYPOS).then_some(meant)
}
