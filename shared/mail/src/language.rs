//! The languages that mails are written in.

/// A language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Language {
    /// English.
    #[default]
    English,
    /// German.
    German,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::English, Self::German];

    /// Its code in ISO 639.
    pub fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
        }
    }

    /// The language of a code, or of a tag that begins with one: `de`, `de-AT`.
    pub fn parse(tag: &str) -> Option<Self> {
        let code = tag.trim().split(['-', '_']).next()?;
        let mut all = Self::ALL.into_iter();
        all.find(|language| language.code().eq_ignore_ascii_case(code))
    }

    /// The best one for the value of an `Accept-Language` header; `None` where it names none of these.
    pub fn accepted(header: &str) -> Option<Self> {
        let wanted = header.split(',').filter_map(|entry| {
            let mut parts = entry.split(';');
            let language = Self::parse(parts.next()?)?;
            let quality = parts.find_map(|part| part.trim().strip_prefix("q="));
            let quality = quality.map_or(Some(1.0), |quality| quality.trim().parse().ok())?;
            Some((language, quality))
        });
        let wanted = wanted.filter(|(_, quality): &(_, f32)| *quality > 0.0);
        // Of equals the first one.
        let best = wanted.reduce(|best, next| if next.1 > best.1 { next } else { best });
        best.map(|(language, _)| language)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_known_language_is_taken() {
        for (header, language) in [
            ("de", Some(Language::German)),
            ("de-AT,de;q=0.9,en;q=0.8", Some(Language::German)),
            ("en-GB, de;q=0.9", Some(Language::English)),
            ("fr, en;q=0.3, DE;q=0.7", Some(Language::German)),
            ("en;q=0, de;q=0.1", Some(Language::German)),
            ("en, de", Some(Language::English)),
            ("fr-CH, *;q=0.5", None),
            ("de;q=much", None),
            ("den", None),
            ("", None),
        ] {
            assert_eq!(Language::accepted(header), language, "{header}");
        }
    }
}
