//! Addresses and usernames: what belongs to one account alone.

const USERNAME: std::ops::RangeInclusive<usize> = 3..=32;
/// The longest address that fits in a mail command (RFC 5321).
const MAX_EMAIL: usize = 254;
const MAX_LOCAL_PART: usize = 64;
const MAX_LABEL: usize = 63;

/// An address that mail could go to, unique whatever its case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailAddress(String);

impl EmailAddress {
    /// Reads an address, without the blanks around it.
    ///
    /// # Errors
    /// Says what it is not.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if is_email(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err("is not an e-mail address".to_owned())
        }
    }

    /// As its owner writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A username, unique whatever its case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Username(String);

impl Username {
    /// Reads a name.
    ///
    /// # Errors
    /// Says what names are made of.
    pub fn parse(text: &str) -> Result<Self, String> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if USERNAME.contains(&text.len()) && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        let (least, most) = (USERNAME.start(), USERNAME.end());
        Err(format!(
            "must have {least} to {most} letters (a to z), digits, '_', '.' or '-'"
        ))
    }

    /// A name made of the part of `address` before the `@`. `number` tells it from those that are taken; 0 is
    /// the name alone.
    pub fn of_address(address: &EmailAddress, number: u32) -> Self {
        let local = address.0.split('@').next().unwrap_or_default();
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let name: String = local
            .chars()
            .map(|c| if allowed(c) { c } else { '-' })
            .collect();
        let number = match number {
            0 => String::new(),
            number => format!("-{number}"),
        };
        let room = USERNAME.end() - number.len();
        let mut name = name[..name.len().min(room)].to_owned() + &number;
        while name.len() < *USERNAME.start() {
            name.push('_');
        }
        Self(name)
    }

    /// As its owner writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The form in which an address or a name is unique.
pub fn key(text: &str) -> String {
    text.to_ascii_lowercase()
}

/// The form in which a text is looked for: without blanks around it, each character small by itself. So the beginning
/// of a text has the beginning of its form, which a Greek sigma at an end would not.
pub fn fold(text: &str) -> String {
    let small = text.trim().chars().flat_map(char::to_lowercase);
    small.map(|c| if c == 'ς' { 'σ' } else { c }).collect()
}

/// True if mail could go there: `local@domain` in ASCII, without quoting and comments, and with a
/// dot in the domain. Only a mail shows whether it arrives.
pub(super) fn is_email(email: &str) -> bool {
    let Some((local, domain)) = email.rsplit_once('@') else {
        return false;
    };
    let atom = |part: &str| {
        let allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~-".contains(&byte);
        !part.is_empty() && part.bytes().all(allowed)
    };
    let label = |part: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !part.is_empty()
            && part.len() <= MAX_LABEL
            && part.bytes().all(allowed)
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    email.len() <= MAX_EMAIL
        && local.len() <= MAX_LOCAL_PART
        && local.split('.').all(atom)
        && domain.contains('.')
        && domain.split('.').all(label)
}
