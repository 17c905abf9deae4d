//! How a client shows who it is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blocks::config::Secret;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};

use crate::token::Tokens;

/// The way in which a client shows who it is. Its `Debug` masks every secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Auth {
    /// Not at all.
    #[default]
    None,
    /// `Authorization: Bearer` and a token that does not change.
    Bearer(Secret),
    /// `Authorization: Basic` (RFC 7617).
    Basic {
        /// The user; a colon can't be in it.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A header of the server's choice. Not a part of the query: that stands in the logs on the way.
    ApiKey {
        /// The header's name.
        header: String,
        /// Its value.
        key: Secret,
    },
    /// A token that is fetched with the client's own credentials (RFC 6749, 4.4).
    OAuth2(ClientCredentials),
}

/// What an access token is fetched with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCredentials {
    /// The token endpoint.
    pub token_url: String,
    /// The client's id.
    pub id: String,
    /// The client's secret.
    pub secret: Secret,
    /// The scopes, with spaces between; none where empty.
    pub scope: String,
    /// How the endpoint is shown id and secret.
    pub style: Style,
}

/// Where id and secret stand in a request for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// In `Authorization: Basic`: `client_secret_basic`, which every server must take.
    Basic,
    /// In the body: `client_secret_post`, for servers that take nothing else.
    Post,
}

impl Auth {
    /// Reads a setting: `none`, `bearer TOKEN`, `basic USER PASSWORD`, `api-key HEADER KEY`, or `oauth2` or
    /// `oauth2-post` with `ID SECRET TOKEN_URL SCOPES`. The last word may have spaces.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = word(text);
        match kind {
            "" | "none" if rest.is_empty() => Some(Self::None),
            "bearer" if !rest.is_empty() => Some(Self::Bearer(Secret::new(rest))),
            "basic" => {
                let (user, password) = word(rest);
                let user = Some(user).filter(|user| !user.is_empty() && !user.contains(':'))?;
                Some(Self::Basic {
                    user: user.to_owned(),
                    password: Secret::new(password),
                })
            }
            "api-key" => {
                let (header, key) = word(rest);
                header.parse::<HeaderName>().ok()?;
                let key = Some(key).filter(|key| !key.is_empty())?;
                Some(Self::ApiKey {
                    header: header.to_owned(),
                    key: Secret::new(key),
                })
            }
            "oauth2" | "oauth2-post" => {
                let (id, rest) = word(rest);
                let (secret, rest) = word(rest);
                let (token_url, scope) = word(rest);
                crate::client::base(token_url)?;
                Some(Self::OAuth2(ClientCredentials {
                    token_url: token_url.to_owned(),
                    id: id.to_owned(),
                    secret: Secret::new(secret),
                    scope: scope.to_owned(),
                    style: match kind {
                        "oauth2" => Style::Basic,
                        _ => Style::Post,
                    },
                }))
            }
            _ => None,
        }
    }
}

/// The first word, and what comes after it.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim();
    let (first, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (first, rest.trim_start())
}

/// [`Auth`], ready to be sent.
#[derive(Debug)]
pub(crate) enum Credentials {
    None,
    Header(HeaderName, HeaderValue),
    Tokens(Box<Tokens>),
}

impl Credentials {
    pub(crate) fn of(auth: Auth) -> Result<Self, String> {
        Ok(match auth {
            Auth::None => Self::None,
            Auth::Bearer(token) => Self::Header(AUTHORIZATION, bearer(token.expose())?),
            Auth::Basic { user, password } => {
                Self::Header(AUTHORIZATION, basic(&user, password.expose())?)
            }
            Auth::ApiKey { header, key } => {
                let name = header.parse();
                let name = name.map_err(|_| format!("{header:?} is no header's name"))?;
                Self::Header(name, secret(key.expose())?)
            }
            Auth::OAuth2(credentials) => Self::Tokens(Box::new(Tokens::new(&credentials)?)),
        })
    }
}

pub(crate) fn bearer(token: &str) -> Result<HeaderValue, String> {
    secret(&format!("Bearer {token}"))
}

pub(crate) fn basic(user: &str, password: &str) -> Result<HeaderValue, String> {
    if user.contains(':') {
        return Err("a user's name can't have a colon in it".into());
    }
    let pair = STANDARD.encode(format!("{user}:{password}"));
    secret(&format!("Basic {pair}"))
}

/// A value that is not shown, wherever headers are.
fn secret(text: &str) -> Result<HeaderValue, String> {
    let value = HeaderValue::from_str(text);
    let mut value = value.map_err(|_| "a secret has a character that no header may have")?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_names_the_way_and_what_it_needs() {
        let secret = |text: &str| Secret::new(text);
        let oauth2 = |style, scope: &str| {
            Auth::OAuth2(ClientCredentials {
                token_url: "https://id.example.com/token".into(),
                id: "rookery".into(),
                secret: secret("hunter2"),
                scope: scope.into(),
                style,
            })
        };
        for (text, auth) in [
            ("", Auth::None),
            ("none", Auth::None),
            ("bearer abc", Auth::Bearer(secret("abc"))),
            (
                "basic ada  two words",
                Auth::Basic {
                    user: "ada".into(),
                    password: secret("two words"),
                },
            ),
            (
                "api-key X-Api-Key abc",
                Auth::ApiKey {
                    header: "X-Api-Key".into(),
                    key: secret("abc"),
                },
            ),
            (
                "oauth2 rookery hunter2 https://id.example.com/token",
                oauth2(Style::Basic, ""),
            ),
            (
                "oauth2-post rookery hunter2 https://id.example.com/token read write",
                oauth2(Style::Post, "read write"),
            ),
        ] {
            assert_eq!(Auth::parse(text), Some(auth), "{text}");
        }
        for bad in [
            "bearer",
            "abc",
            "none abc",
            "basic",
            "basic a:b c",
            "api-key X-Api-Key",
            "api-key X:Y abc",
            "oauth2 rookery hunter2",
            "oauth2 rookery hunter2 id.example.com",
        ] {
            assert_eq!(Auth::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn no_secret_is_shown() {
        for text in [
            "bearer hunter2",
            "basic ada hunter2",
            "api-key X-Key hunter2",
            "oauth2 rookery hunter2 https://id.example.com/token",
        ] {
            let auth = Auth::parse(text).unwrap();
            let pair = STANDARD.encode("ada:hunter2");
            let shown = format!("{auth:?} {:?}", Credentials::of(auth.clone()).unwrap());
            assert!(
                !shown.contains("hunter2") && !shown.contains(&pair),
                "{shown}"
            );
        }
        let broken = Credentials::of(Auth::Bearer(Secret::new("hunter2\n")));
        assert!(!broken.unwrap_err().contains("hunter2"));
    }
}
