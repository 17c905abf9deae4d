//! The sources of settings, and the errors about wrong ones.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;

use strsim::{jaro_winkler, levenshtein};
use toml::Value as Toml;

use super::setting::family;
use super::{AnySetting, ConfigError, Secret, Unknown, Value, said};

/// The text shown for a secret.
pub(super) const MASK: &str = "********";

/// A setting in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The name of its definition.
    pub setting: &'static str,
    /// Its name as an environment variable: another one where the definition is a family's.
    pub name: Cow<'static, str>,
    /// Its value; masked when it is a secret, empty when absent.
    pub value: String,
    /// `default`, `environment`, or the name of a file.
    pub source: String,
}

/// Number of wrong characters up to which a variable's name is still taken for a setting.
const TYPOS: usize = 2;
/// Likeness (Jaro-Winkler) from which one name is taken for the other.
const ALIKE: f64 = 0.9;
/// Names the file, where no command line does.
pub(super) const FILE_VARIABLE: &str = "ROOKERY_CONFIG";
/// Names the image that compose takes.
const IMAGE_VARIABLE: &str = "ROOKERY_TAG";
/// The source of a value that nobody gave.
pub(super) const DEFAULT: &str = "default";
/// Holds variables, below those of the environment.
const DOT_ENV: &str = ".env";
/// A file's name and text.
pub(super) type Given = (String, String);

/// The variables of the environment that are text and not blank.
pub(super) fn environment() -> Vec<(String, String)> {
    let variable = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((
            name.to_str()?.to_ascii_uppercase(),
            value.into_string().ok()?,
        ))
    };
    let variables = std::env::vars_os().filter_map(variable);
    variables.filter(is_said).collect()
}

/// An empty variable counts as absent.
fn is_said((_, value): &(String, String)) -> bool {
    !value.trim().is_empty()
}

/// The file of variables in the working folder, where there is one.
pub(super) fn dot_env() -> Result<Option<Given>, ConfigError> {
    let path = Path::new(DOT_ENV);
    path.is_file().then(|| read(path)).transpose()
}

/// The variables of a `.env` file, as dotenvy reads them: `$NAME` outside of single quotes is another variable.
pub(super) fn read_dot_env(path: &str, text: &str) -> Result<Vec<(String, String)>, ConfigError> {
    let read = |pair: dotenvy::Result<(String, String)>| match pair {
        Ok((name, value)) => Ok((name.to_ascii_uppercase(), value)),
        Err(error) => Err(ConfigError::File {
            path: path.to_owned(),
            reason: match error {
                // The line itself is not shown, since a secret may stand there.
                dotenvy::Error::LineParse(line, _) => {
                    let number = text.lines().position(|of| of.trim() == line.trim());
                    let number =
                        number.map_or_else(|| "a line".into(), |at| format!("line {}", at + 1));
                    format!("{number} is not NAME=VALUE")
                }
                other => other.to_string(),
            },
        }),
    };
    let text = text.trim_start_matches('\u{feff}');
    dotenvy::from_read_iter(text.as_bytes()).map(read).collect()
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

/// The values of `settings` from all sources, and the variables that look like settings but are none.
pub(super) fn merge(
    file: Option<Given>,
    dot_env: Option<Given>,
    environment: impl IntoIterator<Item = (String, String)>,
    settings: impl Iterator<Item = &'static dyn AnySetting>,
) -> Result<(Vec<Value>, Vec<Unknown>), ConfigError> {
    let mut names = BTreeSet::new();
    let settings = settings.filter(|of| names.insert(of.name()));
    let by_default = |of: &'static dyn AnySetting| Value {
        of,
        name: of.name().into(),
        said: Secret::new(of.default()),
        source: DEFAULT.into(),
    };
    let mut values: Vec<Value> = settings.map(by_default).collect();
    let mut set = |name: &str, said: &str, source: &str| {
        if let Some(value) = values.iter_mut().find(|value| value.name == name) {
            value.said = Secret::new(said.trim());
            source.clone_into(&mut value.source);
        } else if let Some(of) = values
            .iter()
            .map(|value| value.of)
            .find(|of| is_of(of.name(), name))
        {
            values.push(Value {
                of,
                name: name.to_owned().into(),
                said: Secret::new(said.trim()),
                source: source.to_owned(),
            });
        }
    };
    if let Some((path, text)) = file {
        for (name, said) in read_toml(&path, &text, &names)? {
            set(&name, &said, &path);
        }
    }
    let mut unknown = Vec::new();
    if let Some((path, text)) = dot_env {
        let said = read_dot_env(&path, &text)?;
        for (name, said) in said.into_iter().filter(is_said) {
            if is_known(&name, &names) {
                set(&name, &said, &path);
            } else if let Some(meant) = typo(&name, &names) {
                // It has variables of compose files, too, which begin like settings.
                unknown.push(Unknown {
                    name,
                    meant: vec![meant],
                });
            }
        }
    }
    for (name, said) in environment.into_iter().filter(is_said) {
        if is_known(&name, &names) {
            set(&name, &said, "environment");
        } else if let Some(meant) = mistyped(&name, &names) {
            unknown.push(Unknown { name, meant });
        }
    }
    for at in 0..values.len() {
        if let Some(parts) = values[at].of.parts()
            && values[at].said.expose().is_empty()
        {
            let whole = (parts.compose)(&|name| Some(said(&values, name)?.to_owned()));
            let whole = whole.map_err(|(name, expected)| {
                let wrong = values.iter().find(|value| value.name == name);
                wrong.unwrap_or(&values[at]).refuse(expected)
            })?;
            if let Some(whole) = whole {
                values[at].said = Secret::new(whole);
                values[at].source = parts.names.join(", ");
            }
        }
    }
    Ok((values, unknown))
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
    let table: toml::Table =
        toml::from_str(text).map_err(|error| broken(where_broken(text, &error)))?;
    let mut values = Vec::new();
    for (key, value) in table {
        let name = key.to_ascii_uppercase();
        if !is_known(&name, names) {
            return Err(ConfigError::UnknownKey {
                path: path.to_owned(),
                hint: nearest(&name, names.iter().copied()),
                key,
            });
        }
        let value = written(&value)
            .ok_or_else(|| broken(format!("{key} has a table, expected a single value")))?;
        values.push((name, value));
    }
    Ok(values)
}

/// The place where `text` is no TOML, and the reason. Parsers show the line itself, and a secret may stand
/// there.
fn where_broken(text: &str, error: &toml::de::Error) -> String {
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

/// A value as it would be written in the environment; `None` for a table.
fn written(value: &Toml) -> Option<String> {
    Some(match value {
        Toml::String(text) => text.clone(),
        Toml::Boolean(switch) => switch.to_string(),
        Toml::Integer(number) => number.to_string(),
        Toml::Float(number) => number.to_string(),
        Toml::Datetime(time) => time.to_string(),
        Toml::Array(items) => {
            let items: Option<Vec<String>> = items.iter().map(written).collect();
            items?.join(",")
        }
        Toml::Table(_) => return None,
    })
}

/// The setting whose name has most in common with `name`, when that is enough to suggest it.
fn nearest(name: &str, names: impl IntoIterator<Item = &'static str>) -> Option<&'static str> {
    let near = names
        .into_iter()
        .map(|known| (levenshtein(known, name), known));
    near.min()
        .filter(|(distance, known)| *distance <= (known.len() / 3).max(2))
        .map(|(_, known)| known)
}

/// The settings that `name` may have been meant to be, if it looks like one. Other programs have variables, too.
/// So a name counts that nearly matches one of our names of several words, begins with the first word of one,
/// or with ours.
fn mistyped(name: &str, names: &BTreeSet<&'static str>) -> Option<Vec<&'static str>> {
    if let Some(own) = name.strip_prefix("ROOKERY_") {
        let near = nearest(own, names.iter().copied());
        let is_file = levenshtein(name, FILE_VARIABLE) <= TYPOS;
        let near = near.or(is_file.then_some(FILE_VARIABLE));
        let is_known = [FILE_VARIABLE, IMAGE_VARIABLE].contains(&name);
        return (!is_known).then(|| near.into_iter().collect());
    }
    if let Some(near) = typo(name, names) {
        return Some(vec![near]);
    }
    // Kubernetes puts the addresses of its services into the environment by such names.
    if name.contains("_SERVICE_") || name.contains("_PORT_") {
        return None;
    }
    let (first, _) = name.split_once('_')?;
    let begin = of_several(names).filter(|known| known.split('_').next() == Some(first));
    let begin: Vec<&str> = begin.collect();
    let likeness = |known: &&&str| jaro_winkler(known, name);
    let best = begin
        .iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    Some(if likeness(&best) < ALIKE {
        begin
    } else {
        vec![best]
    })
}

/// The setting of several words that `name` nearly is, or the family whose end is nearly its end. A port is no typo
/// of a host.
fn typo(name: &str, names: &BTreeSet<&'static str>) -> Option<&'static str> {
    let is_near = |known: &&str| levenshtein(known, name) <= TYPOS;
    let is_other = |known: &&str| name.ends_with("_PORT") && known.ends_with("_HOST");
    let near = nearest(name, of_several(names)).filter(|known| is_near(known) && !is_other(known));
    near.or_else(|| {
        let near = names.iter().filter_map(|known| {
            let (begin, end) = family(known)?;
            let rest = name.strip_prefix(begin)?;
            let ends = rest.match_indices('_').map(|(at, _)| &rest[at..]);
            let distance = ends.map(|of| levenshtein(of, end)).min()?;
            (distance <= TYPOS).then_some((distance, *known))
        });
        near.min().map(|(_, known)| known)
    })
}

/// True if `name` is a setting, or one of a family.
fn is_known(name: &str, names: &BTreeSet<&'static str>) -> bool {
    names.contains(name) || names.iter().any(|known| is_of(known, name))
}

/// True if `name` is one of the family `of`: letters, digits and `_` stand for the name.
fn is_of(of: &str, name: &str) -> bool {
    let named = family(of).and_then(|(begin, end)| name.strip_prefix(begin)?.strip_suffix(end));
    named.is_some_and(|named| {
        let allowed = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        !named.is_empty()
            && !named.starts_with('_')
            && !named.ends_with('_')
            && named.bytes().all(allowed)
    })
}

fn of_several(names: &BTreeSet<&'static str>) -> impl Iterator<Item = &'static str> {
    names.iter().copied().filter(|known| known.contains('_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_typo_of_a_host() {
        let names = BTreeSet::from(["CONSUL_HOST", "DATABASE_URL"]);
        assert_eq!(typo("CONSUL_PORT", &names), None);
        assert_eq!(typo("CONSUL_HSOT", &names), Some("CONSUL_HOST"));
        assert_eq!(typo("DATABASE_ULR", &names), Some("DATABASE_URL"));
    }
}
