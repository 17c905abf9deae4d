//! Identity headers: their names, how they are kept out, and how the right ones become a [`Caller`].

use http::header::{AUTHORIZATION, CONNECTION, HeaderMap, HeaderName};

use super::assertion::AssertionVerifier;
use super::refusal::AuthRefusal;
use crate::Caller;

/// The account's id.
pub const USER_ID: HeaderName = HeaderName::from_static("x-user-id");
/// The account's name.
pub const USER_NAME: HeaderName = HeaderName::from_static("x-user-name");
/// The account's e-mail address.
pub const USER_EMAIL: HeaderName = HeaderName::from_static("x-user-email");
/// The account's role.
pub const USER_ROLE: HeaderName = HeaderName::from_static("x-user-role");
/// The assertion: the only one of them that proves anything.
pub const IDENTITY: HeaderName = HeaderName::from_static("x-identity");

/// True if anybody on the way may read `name` as an identity header. Proxies and frameworks differ in their
/// treatment of `_`, `.` and case, so only letters and digits are compared.
pub fn is_identity(name: &str) -> bool {
    // Nearly every header is done here.
    if !name.starts_with(['x', 'X']) {
        return false;
    }
    [
        "xuserid",
        "xusername",
        "xuseremail",
        "xuserrole",
        "xidentity",
    ]
    .iter()
    .any(|known| {
        let letters = name.bytes().filter(u8::is_ascii_alphanumeric);
        letters
            .map(|byte| byte.to_ascii_lowercase())
            .eq(known.bytes())
    })
}

/// Removes identity headers in any spelling, and a `Connection` header that names one: it would make the
/// next proxy drop the true one.
pub fn strip(headers: &mut HeaderMap) {
    if headers.keys().any(|name| is_identity(name.as_str())) {
        let forged: Vec<HeaderName> = headers
            .keys()
            .filter(|name| is_identity(name.as_str()))
            .cloned()
            .collect();
        for name in forged {
            headers.remove(name);
        }
    }
    let named = headers.get_all(CONNECTION).iter().any(|value| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|option| std::str::from_utf8(option.trim_ascii()).is_ok_and(is_identity))
    });
    if named {
        headers.remove(CONNECTION);
    }
}

/// The bearer token of a request; `None` when it has no `Authorization` at all.
///
/// # Errors
/// When there is one that is not a single bearer token.
pub fn bearer(headers: &HeaderMap) -> Result<Option<&str>, AuthRefusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(AuthRefusal::Malformed);
    }
    let value = value.to_str().map_err(|_| AuthRefusal::Malformed)?;
    let (scheme, token) = value.split_once(' ').ok_or(AuthRefusal::Malformed)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(AuthRefusal::Malformed);
    }
    Ok(Some(token))
}

/// The caller by the assertion in `headers`; `None` where there is none.
///
/// # Errors
/// Why it is not believed.
pub(crate) async fn asserted(
    headers: &HeaderMap,
    verifier: &AssertionVerifier,
) -> Result<Option<Caller>, AuthRefusal> {
    let Some(assertion) = headers.get(IDENTITY) else {
        return Ok(None);
    };
    if headers.get_all(IDENTITY).iter().count() > 1 {
        return Err(AuthRefusal::Malformed);
    }
    let assertion = assertion.to_str().map_err(|_| AuthRefusal::Malformed)?;
    let caller = verifier.verify(assertion).await?;
    let says = |name: HeaderName, truth: &str| {
        let mut values = headers.get_all(name).iter();
        values.next().is_none_or(|value| value == truth) && values.next().is_none()
    };
    let agreed = says(USER_ID, &caller.id.to_string())
        && says(USER_NAME, &caller.name)
        && says(USER_ROLE, caller.role.as_str());
    if agreed {
        Ok(Some(caller))
    } else {
        Err(AuthRefusal::Malformed)
    }
}
