//! Profiles and the rules for their fields. No I/O.

use blocks::FieldErrors;
use blocks::extract::Patch;
use chrono::{DateTime, Datelike, NaiveDate, Utc};
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

/// The longest first or last name, in Unicode characters.
pub const MAX_NAME: usize = 100;
/// The longest street address, in characters.
pub const MAX_ADDRESS: usize = 300;
/// The longest city, state or country, in characters.
pub const MAX_PLACE: usize = 100;
/// The longest postal code, in characters.
pub const MAX_ZIP_CODE: usize = 20;
/// The longest phone number, in characters.
pub const MAX_PHONE: usize = 32;
/// The longest text about oneself, in characters.
pub const MAX_BIO: usize = 2000;
/// The largest preferences, in bytes of JSON.
pub const MAX_PREFERENCES_BYTES: usize = 16 << 10;
/// The deepest nesting of arrays and objects in preferences.
pub const MAX_PREFERENCES_DEPTH: usize = 64;
/// The earliest year of birth.
pub const EARLIEST_YEAR: i32 = 1900;

/// The fields of a profile; each may be absent.
#[derive(Debug, Clone, Default, Serialize, sqlx_macros::FromRow)]
pub struct Fields<Text = Option<String>, Date = Option<NaiveDate>, Json = Option<Preferences>> {
    pub first_name: Text,
    pub last_name: Text,
    /// Date of birth.
    pub dob: Date,
    /// Street and number.
    pub address: Text,
    pub city: Text,
    /// State or region.
    pub state: Text,
    /// Postal code.
    pub zip_code: Text,
    pub country: Text,
    /// Phone number, as the user writes it.
    pub phone: Text,
    /// About oneself.
    pub bio: Text,
    /// Any JSON value.
    pub preferences: Json,
}

/// The requested changes of a profile, not yet checked: the date of birth is a text.
pub type Request = Fields<Patch<String>, Patch<String>, Patch<Box<RawValue>>>;

/// Any JSON value, kept as it was sent.
#[derive(Debug, Clone, sqlx_macros::Type)]
#[sqlx(transparent)]
pub struct Preferences(String);

impl From<Box<RawValue>> for Preferences {
    fn from(json: Box<RawValue>) -> Self {
        Self(Box::<str>::from(json).into())
    }
}

impl Serialize for Preferences {
    fn serialize<S: Serializer>(&self, writer: S) -> Result<S::Ok, S::Error> {
        let json: &RawValue = serde_json::from_str(&self.0).map_err(S::Error::custom)?;
        json.serialize(writer)
    }
}

#[derive(Debug, Clone, sqlx_macros::FromRow)]
pub struct Profile {
    /// The profile's id, never used again after a deletion.
    pub id: i64,
    /// The account that it belongs to.
    pub user_id: i64,
    #[sqlx(flatten)]
    pub fields: Fields,
    /// Counts its events: 1 when it is created.
    pub version: i64,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// What happened to the profile of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProfileEvent {
    Created { profile_id: i64, user_id: i64 },
    Changed { profile_id: i64, user_id: i64 },
    Deleted { profile_id: i64, user_id: i64 },
}

/// The parts of a new profile besides its fields.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Added {
    pub id: i64,
    /// When it was created.
    pub created_at: DateTime<Utc>,
}

impl Added {
    /// The version of a new profile.
    pub const VERSION: i64 = 1;

    /// Makes the profile of `user_id` with `fields`.
    pub fn profile(self, user_id: i64, fields: Fields) -> Profile {
        Profile {
            id: self.id,
            user_id,
            fields,
            version: Self::VERSION,
            created_at: self.created_at,
            updated_at: self.created_at,
        }
    }
}

/// The changes of a profile, checked against the rules.
#[derive(Debug, Default)]
pub struct Changes {
    texts: Request,
    dob: Patch<NaiveDate>,
    is_empty: bool,
}

impl Changes {
    /// Checks requested changes on the day `today`.
    ///
    /// # Errors
    /// Names each field that breaks a rule.
    pub fn new(mut request: Request, today: NaiveDate) -> Result<Self, FieldErrors> {
        let mut errors = FieldErrors::default();
        let texts = [
            ("first_name", &mut request.first_name, MAX_NAME),
            ("last_name", &mut request.last_name, MAX_NAME),
            ("address", &mut request.address, MAX_ADDRESS),
            ("city", &mut request.city, MAX_PLACE),
            ("state", &mut request.state, MAX_PLACE),
            ("zip_code", &mut request.zip_code, MAX_ZIP_CODE),
            ("country", &mut request.country, MAX_PLACE),
            ("phone", &mut request.phone, MAX_PHONE),
            ("bio", &mut request.bio, MAX_BIO),
        ];
        let mut is_empty = request.dob.is_absent() && request.preferences.is_absent();
        for (field, text, most) in texts {
            is_empty &= text.is_absent();
            if let Patch::Set(text) = &*text
                && text.chars().nth(most).is_some()
            {
                errors.add(field, format!("must not be longer than {most} characters"));
            }
            *text = std::mem::take(text).filled();
        }
        if let Patch::Set(preferences) = &request.preferences
            && let Err(why) = check_preferences(preferences.get())
        {
            errors.add("preferences", why);
        }
        let dob = match std::mem::take(&mut request.dob).filled() {
            Patch::Absent => Patch::Absent,
            Patch::Null => Patch::Null,
            Patch::Set(text) => match check_dob(&text, today) {
                Ok(dob) => Patch::Set(dob),
                Err(why) => {
                    errors.add("dob", why);
                    Patch::Absent
                }
            },
        };
        errors.into_result()?;
        Ok(Self {
            texts: request,
            dob,
            is_empty,
        })
    }

    /// True if no field is named.
    pub fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Applies the changes to `fields`.
    pub fn apply(self, fields: &mut Fields) {
        let texts = self.texts;
        texts.first_name.apply(&mut fields.first_name);
        texts.last_name.apply(&mut fields.last_name);
        self.dob.apply(&mut fields.dob);
        texts.address.apply(&mut fields.address);
        texts.city.apply(&mut fields.city);
        texts.state.apply(&mut fields.state);
        texts.zip_code.apply(&mut fields.zip_code);
        texts.country.apply(&mut fields.country);
        texts.phone.apply(&mut fields.phone);
        texts.bio.apply(&mut fields.bio);
        let preferences = texts.preferences.map(Preferences::from);
        preferences.apply(&mut fields.preferences);
    }
}

/// Checks the depth, and escapes that are half a character. The body's parser lets both pass, but
/// readers of the answer would fail.
fn check_preferences(json: &str) -> Result<(), String> {
    if json.len() > MAX_PREFERENCES_BYTES {
        return Err(format!(
            "must not be larger than {MAX_PREFERENCES_BYTES} bytes"
        ));
    }
    let mut depth = 0;
    let mut rest = json;
    while let Some(at) = rest.find(['"', '[', '{', ']', '}']) {
        let end = match rest.as_bytes()[at] {
            b'"' => {
                let end = at + string_length(&rest[at..]);
                if serde_json::from_str::<String>(&rest[at..end]).is_err() {
                    return Err("must not have an escape that is half a character".to_owned());
                }
                end
            }
            b'[' | b'{' => {
                depth += 1;
                at + 1
            }
            _ => {
                depth -= 1;
                at + 1
            }
        };
        if depth > MAX_PREFERENCES_DEPTH {
            return Err(format!(
                "must not be nested more than {MAX_PREFERENCES_DEPTH} levels deep"
            ));
        }
        rest = &rest[end..];
    }
    Ok(())
}

/// The length of the JSON string at the start of `json`, with its quotes.
fn string_length(json: &str) -> usize {
    let mut escaped = true;
    let end = json.bytes().position(|byte| {
        let is_end = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        is_end
    });
    end.map_or(json.len(), |end| end + 1)
}

fn check_dob(text: &str, today: NaiveDate) -> Result<NaiveDate, String> {
    // chrono would take `2000-1-1` and ` 2000-01-01`, too.
    let spelled = text.len() == 10
        && text.bytes().enumerate().all(|(place, byte)| match place {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    let date = spelled.then(|| text.parse::<NaiveDate>().ok()).flatten();
    let date = date.ok_or("must be a date as YYYY-MM-DD")?;
    if date.year() < EARLIEST_YEAR {
        return Err(format!("must not be before the year {EARLIEST_YEAR}"));
    }
    if date > today {
        return Err("must not be in the future".to_owned());
    }
    Ok(date)
}

#[cfg(test)]
mod tests;
