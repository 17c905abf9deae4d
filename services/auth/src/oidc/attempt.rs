//! An attempt to sign in, between its start and the provider's answer.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};

use super::{Oidc, OidcError, PATH};
use crate::error::AuthError;
use crate::secrets;

/// How long somebody may take at the provider.
pub const ATTEMPT_FOR: TimeDelta = TimeDelta::minutes(10);
/// Most attempts of one browser at a time. One more forgets them all.
pub const MAX_ATTEMPTS: usize = 8;
/// So many characters of the state tell an attempt's cookie from others.
const NAMED_BY: usize = 12;

/// What is known of an attempt until the provider answers.
#[derive(Serialize, Deserialize)]
pub struct Attempt {
    pub provider: String,
    pub nonce: String,
    /// The secret of PKCE.
    pub verifier: String,
    /// Where the browser returns to; without it the answer is that of a login.
    pub return_to: Option<String>,
    /// It fails from then on.
    pub expires_at: DateTime<Utc>,
    /// Comes back by the provider.
    #[serde(skip)]
    pub state: String,
}

impl Oidc {
    /// The name of the cookie with the attempt that has `state`. `__Host-` keeps other hosts of the same domain
    /// from setting it.
    fn cookie(&self, state: &str) -> String {
        let named_by: String = state.chars().take(NAMED_BY).collect();
        format!("{}{named_by}", self.prefix())
    }

    fn prefix(&self) -> &'static str {
        if self.is_secure() {
            "__Host-oidc-"
        } else {
            "oidc-"
        }
    }

    fn set_cookie(&self, name: &str, value: &str, lasts: TimeDelta) -> HeaderValue {
        let (path, secure) = if self.is_secure() {
            ("/", "; Secure")
        } else {
            (PATH, "")
        };
        let seconds = lasts.num_seconds();
        let text = format!(
            "{name}={value}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
        );
        HeaderValue::try_from(text).expect("names of cookies that a browser sent are visible ASCII")
    }

    /// The cookies that bind `attempt` to the browser with these headers.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn bind(
        &self,
        attempt: &Attempt,
        headers: &HeaderMap,
    ) -> Result<Vec<HeaderValue>, AuthError> {
        let under_way: Vec<&str> = cookies(headers)
            .map(|(name, _)| name)
            .filter(|name| name.starts_with(self.prefix()))
            .collect();
        let mut set = Vec::new();
        if under_way.len() >= MAX_ATTEMPTS {
            set.extend(
                under_way
                    .iter()
                    .map(|name| self.set_cookie(name, "", TimeDelta::zero())),
            );
        }
        let text = serde_json::to_vec(attempt).map_err(sql::StoreError::from)?;
        let sealed = self
            .seal
            .close(&attempt.state, &text)
            .map_err(OidcError::Random)?;
        let name = self.cookie(&attempt.state);
        set.push(self.set_cookie(&name, &URL_SAFE_NO_PAD.encode(sealed), ATTEMPT_FOR));
        Ok(set)
    }

    /// The attempt at `provider` that has `state`, if this browser began it. The cookie has it forgotten.
    ///
    /// # Errors
    /// When there is none, or it took too long.
    pub fn opened(
        &self,
        provider: &str,
        state: &str,
        headers: &HeaderMap,
        now: DateTime<Utc>,
    ) -> Result<(Attempt, HeaderValue), OidcError> {
        let wanted = self.cookie(state);
        // Another path or domain may have set one of the same name.
        let attempt = cookies(headers)
            .filter(|(name, _)| *name == wanted)
            .find_map(|(_, value)| {
                let sealed = URL_SAFE_NO_PAD.decode(value).ok()?;
                let text = self.seal.open(state, sealed)?;
                serde_json::from_slice::<Attempt>(&text).ok()
            });
        let attempt =
            attempt.filter(|attempt| attempt.provider == provider && now < attempt.expires_at);
        let mut attempt = attempt.ok_or(OidcError::NoAttempt)?;
        state.clone_into(&mut attempt.state);
        Ok((attempt, self.set_cookie(&wanted, "", TimeDelta::zero())))
    }
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let headers = headers.get_all(COOKIE).iter();
    let pairs = headers
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(';'));
    pairs.filter_map(|pair| pair.trim().split_once('='))
}

/// 32 random bytes as text.
///
/// # Errors
/// When the system gives none.
pub fn secret() -> Result<String, OidcError> {
    let bytes = secrets::random().map_err(|error| OidcError::Random(error.into()))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    fn oidc(site: &str, secret_key: &str) -> Oidc {
        let site = Some(site.parse().unwrap());
        let settings = Settings {
            site,
            ..Settings::default()
        };
        Oidc::new(settings, secret_key).unwrap()
    }

    fn attempt(state: &str) -> Attempt {
        Attempt {
            provider: "google".to_owned(),
            nonce: "n".to_owned(),
            verifier: "v".to_owned(),
            return_to: None,
            expires_at: DateTime::UNIX_EPOCH + ATTEMPT_FOR,
            state: state.to_owned(),
        }
    }

    fn sent(cookies: &[HeaderValue]) -> HeaderMap {
        let pairs = cookies
            .iter()
            .map(|set| set.to_str().unwrap().split(';').next().unwrap());
        let mut headers = HeaderMap::new();
        headers.insert(
            COOKIE,
            pairs.collect::<Vec<_>>().join("; ").parse().unwrap(),
        );
        headers
    }

    #[test]
    fn an_attempt_opens_for_its_browser_its_state_its_provider_and_its_time_on_every_replica() {
        let (now, secret) = (DateTime::UNIX_EPOCH, "a secret key for tests only");
        let (one, other) = (
            oidc("https://a.example", secret),
            oidc("https://a.example", secret),
        );
        let cookies = one
            .bind(&attempt("the-state-of-this-one"), &HeaderMap::new())
            .unwrap();
        let set = cookies[0].to_str().unwrap();
        assert!(
            set.starts_with("__Host-oidc-the-state-of=")
                && set.ends_with("; Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure"),
            "{set}"
        );
        let browser = sent(&cookies);
        let (opened, forget) = other
            .opened("google", "the-state-of-this-one", &browser, now)
            .unwrap();
        assert_eq!(
            (&*opened.nonce, &*opened.state),
            ("n", "the-state-of-this-one")
        );
        assert!(forget.to_str().unwrap().contains("=; Path=/; Max-Age=0;"));
        let foreign = oidc("https://a.example", "another secret key, of others");
        for (by, provider, state, headers, at) in [
            (&other, "google", "the-state-of-another", &browser, now),
            (&other, "keycloak", "the-state-of-this-one", &browser, now),
            (
                &other,
                "google",
                "the-state-of-this-one",
                &HeaderMap::new(),
                now,
            ),
            (
                &other,
                "google",
                "the-state-of-this-one",
                &browser,
                now + ATTEMPT_FOR,
            ),
            (&foreign, "google", "the-state-of-this-one", &browser, now),
        ] {
            assert!(
                by.opened(provider, state, headers, at).is_err(),
                "{provider} {state} {at}"
            );
        }
    }

    #[test]
    fn a_browser_forgets_attempts_where_it_has_too_many() {
        let oidc = oidc("http://127.0.0.1:8000", "a secret key for tests only");
        let mut cookies = Vec::new();
        for number in 0..MAX_ATTEMPTS {
            let set = oidc
                .bind(&attempt(&format!("{number:012}")), &sent(&cookies))
                .unwrap();
            assert_eq!(set.len(), 1);
            assert!(
                set[0]
                    .to_str()
                    .unwrap()
                    .ends_with("; Path=/api/auth/oidc; Max-Age=600; HttpOnly; SameSite=Lax")
            );
            cookies.extend(set);
        }
        let set = oidc
            .bind(&attempt("one more of them"), &sent(&cookies))
            .unwrap();
        let forgotten = set
            .iter()
            .filter(|set| set.to_str().unwrap().contains("Max-Age=0"));
        assert_eq!(
            (forgotten.count(), set.len()),
            (MAX_ATTEMPTS, MAX_ATTEMPTS + 1)
        );
    }
}
