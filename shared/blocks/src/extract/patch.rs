//! A field of a partial update.

use serde::{Deserialize, Deserializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use crate::problem::FieldErrors;

/// A field of a `PUT` that takes any subset: absent and an explicit null are two things. The field
/// needs `#[serde(default)]`; `#[schema(value_type = Option<T>)]` documents it inline.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Patch<T> {
    /// Not mentioned: stays as it is.
    #[default]
    Absent,
    /// `null`: cleared.
    Null,
    /// The new value.
    Set(T),
}

impl<T> Patch<T> {
    /// True if the field was not mentioned.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Applies the requested change to `field`.
    pub fn apply(self, field: &mut Option<T>) {
        match self {
            Self::Absent => {}
            Self::Null => *field = None,
            Self::Set(value) => *field = Some(value),
        }
    }

    /// The new value of a field that can't be cleared: a null is a complaint.
    pub fn required(self, field: &str, errors: &mut FieldErrors) -> Option<T> {
        match self {
            Self::Absent => None,
            Self::Null => {
                errors.add(field, "must not be null");
                None
            }
            Self::Set(value) => Some(value),
        }
    }

    /// Turns the value, where there is one, into another.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Patch<U> {
        match self {
            Self::Absent => Patch::Absent,
            Self::Null => Patch::Null,
            Self::Set(value) => Patch::Set(change(value)),
        }
    }

    /// The value, where there is one.
    pub fn set(self) -> Option<T> {
        match self {
            Self::Set(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }
}

impl Patch<String> {
    /// The new value of an optional text: a blank one is none, so it clears as null does.
    #[must_use]
    pub fn filled(self) -> Self {
        match self {
            Self::Set(text) => super::filled(text).map_or(Self::Null, Self::Set),
            other => other,
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(reader)?.map_or(Self::Null, Self::Set))
    }
}

impl<T> PartialSchema for Patch<T>
where
    Option<T>: PartialSchema,
{
    fn schema() -> RefOr<Schema> {
        Option::<T>::schema()
    }
}

impl<T: ToSchema> ToSchema for Patch<T>
where
    Option<T>: PartialSchema,
{
    fn name() -> std::borrow::Cow<'static, str> {
        format!("Patch_{}", T::name()).into()
    }
}
