//! A setting's definition. Each belongs to its reader: the process's own are in [`super::process`], a
//! service lists its own in its definition.

use std::time::Duration;

use super::values::{self, Secret, non_empty, seconds, switch};

/// Stands in the name of a family of settings for a name that whoever gives one chooses.
pub const NAME: &str = "<NAME>";

/// The parts of a family's name before and after [`NAME`]; `None` for a setting of its own.
pub(super) fn family(name: &str) -> Option<(&str, &str)> {
    name.split_once(NAME)
}

/// A setting that is read as a `T`. `--help`, `rookery config`, the README and `.env.example` show it.
#[derive(Debug)]
pub struct Setting<T> {
    /// As an environment variable; in lower case it is the key in a file.
    pub name: &'static str,
    /// The value where none is given. Empty: it may be absent.
    pub default: &'static str,
    /// Its purpose, in one line.
    pub about: &'static str,
    /// True if its value is masked wherever it is shown.
    pub secret: bool,
    /// True if production refuses a value that could be guessed.
    pub strong: bool,
    /// A description of valid values, for errors.
    pub expected: &'static str,
    /// Reads a value; `None` when it is not as expected. Gets `""` for an absent one.
    pub parse: fn(&str) -> Option<T>,
    /// The settings that say it where it is absent.
    pub parts: Option<&'static Parts>,
}

/// Settings that say another one in parts, as older set-ups do.
#[derive(Debug)]
pub struct Parts {
    /// Their names.
    pub names: &'static [&'static str],
    /// The whole, of the parts that are present; `None` where they name no server.
    pub compose: fn(&Said<'_>) -> Result<Option<String>, WrongPart>,
}

/// Gives the value of a setting by its name.
pub type Said<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// The name of a part that is wrong, and a description of valid values.
pub type WrongPart = (&'static str, &'static str);

impl<T> Setting<T> {
    /// One whose value `parse` reads.
    pub const fn new(
        name: &'static str,
        default: &'static str,
        about: &'static str,
        expected: &'static str,
        parse: fn(&str) -> Option<T>,
    ) -> Self {
        Self {
            name,
            default,
            about,
            secret: false,
            strong: false,
            expected,
            parse,
            parts: None,
        }
    }
}

impl Setting<bool> {
    /// `true` or `false`.
    pub const fn switch(name: &'static str, default: &'static str, about: &'static str) -> Self {
        Self::new(name, default, about, values::SWITCH, switch)
    }
}

impl Setting<Duration> {
    /// A number of seconds from 1 on.
    pub const fn seconds(name: &'static str, default: &'static str, about: &'static str) -> Self {
        Self::new(name, default, about, values::SECONDS, seconds)
    }
}

impl Setting<Option<String>> {
    /// A text that may be absent.
    pub const fn text(name: &'static str, about: &'static str) -> Self {
        Self::new(name, "", about, "a text", |text| Some(non_empty(text)))
    }
}

impl Setting<Option<Secret>> {
    /// A text that may be absent and is never shown.
    pub const fn secret(name: &'static str, about: &'static str) -> Self {
        let parse: fn(&str) -> _ = |text| Some(non_empty(text).map(Secret::new));
        let setting = Self::new(name, "", about, "a text", parse);
        Self {
            secret: true,
            ..setting
        }
    }

    /// A secret that encrypts or signs: production wants it long and random.
    pub const fn key(name: &'static str, about: &'static str) -> Self {
        Self {
            strong: true,
            expected: "at least 32 random bytes when ENVIRONMENT is production; \
                       `openssl rand -base64 32` makes a good one",
            ..Self::secret(name, about)
        }
    }
}

/// A setting of any type.
pub trait AnySetting: Sync {
    /// See [`Setting::name`].
    fn name(&self) -> &'static str;
    /// See [`Setting::default`].
    fn default(&self) -> &'static str;
    /// See [`Setting::about`].
    fn about(&self) -> &'static str;
    /// See [`Setting::expected`].
    fn expected(&self) -> &'static str;
    /// See [`Setting::secret`].
    fn is_secret(&self) -> bool;
    /// See [`Setting::strong`].
    fn is_strong(&self) -> bool;
    /// See [`Setting::parts`].
    fn parts(&self) -> Option<&'static Parts>;
    /// True if `text` is a valid value.
    fn accepts(&self, text: &str) -> bool;
    /// True if it stands for several, as `OIDC_<NAME>_ISSUER`.
    fn is_family(&self) -> bool {
        family(self.name()).is_some()
    }
}

impl<T> AnySetting for Setting<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn default(&self) -> &'static str {
        self.default
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn expected(&self) -> &'static str {
        self.expected
    }

    fn is_secret(&self) -> bool {
        self.secret
    }

    fn is_strong(&self) -> bool {
        self.strong
    }

    fn parts(&self) -> Option<&'static Parts> {
        self.parts
    }

    fn accepts(&self, text: &str) -> bool {
        (self.parse)(text).is_some()
    }
}

/// Settings of several types.
pub type Settings = &'static [&'static dyn AnySetting];

/// The settings for `--help`, a line each: its name, its purpose, its default.
pub fn help<'a>(settings: impl IntoIterator<Item = &'a &'static dyn AnySetting>) -> String {
    let line = |setting: &&dyn AnySetting| match setting.default() {
        "" => format!("  {:<24}  {}", setting.name(), setting.about()),
        default => format!("  {:<24}  {} [{default}]", setting.name(), setting.about()),
    };
    let lines: Vec<String> = settings.into_iter().map(line).collect();
    let heading = "Settings, from the environment or the file (names in lower case there):";
    format!("{heading}\n{}", lines.join("\n"))
}
