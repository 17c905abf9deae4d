//! Whole numbers in JSON.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

/// A whole number, also one that is written `36.0`: JSON Schema takes both for an integer.
/// `#[schema(value_type = i64)]` documents it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Whole(pub i64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(reader)?;
        let written = || {
            let float = number.as_f64().filter(|float| float.fract() == 0.0)?;
            format!("{float}").parse().ok()
        };
        let whole = number.as_i64().or_else(written);
        whole
            .map(Self)
            .ok_or_else(|| D::Error::custom("must be a whole number of at most 64 bits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_one_however_it_is_written() {
        let read = |json: &str| serde_json::from_str::<Whole>(json).ok().map(|Whole(it)| it);
        for (json, number) in [("36", 36), ("36.0", 36), ("-0.0", 0), ("1e2", 100)] {
            assert_eq!(read(json), Some(number), "{json}");
        }
        assert_eq!(read("-9223372036854775808"), Some(i64::MIN));
        for json in [
            "1.5",
            "1e300",
            "9223372036854775808",
            "-1e19",
            "\"36\"",
            "true",
            "null",
        ] {
            assert_eq!(read(json), None, "{json}");
        }
    }
}
