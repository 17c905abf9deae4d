//! Access tokens by client credentials (RFC 6749, 4.4): fetched once for all who wait, kept until shortly
//! before they end, fetched anew when the server refuses one.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use blocks::{Clock, SystemClock};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use parking_lot::RwLock;
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::auth::{ClientCredentials, Style, basic, bearer};
use crate::error::Kind;
use crate::exchange::Wire;
use crate::retry::{PASSING, retry_after};

/// The life of a token whose end is not told, or by no number above 0.
const USUAL_LIFE: Duration = Duration::from_mins(5);
/// The longest life. An instant that is too far off can't be kept.
const LONGEST_LIFE: Duration = Duration::from_hours(365 * 24);
/// A token is kept for so long after it came, however short its life is: a server that refuses it before gets
/// another, and the endpoint is not asked for one at each call.
const LEAST_KEPT: Duration = Duration::from_secs(1);
/// A token is replaced this long before its end, or a tenth of its life where that is shorter.
const MARGIN: Duration = Duration::from_secs(30);
/// Size limit of an answer of the endpoint.
const MOST_BYTES: usize = 64 * 1024;
/// The codes of RFC 6749, 5.2: an answer's own text could be anything.
const CODES: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

/// A token, ready to be sent.
#[derive(Clone)]
pub(crate) struct Token {
    pub header: HeaderValue,
    /// Tells tokens apart.
    pub number: u64,
    until: Instant,
}

/// A request for a token that failed.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    pub kind: Kind,
    /// The time that the endpoint wants to be left alone.
    pub least_pause: Duration,
}

impl From<Kind> for Failed {
    fn from(kind: Kind) -> Self {
        Self {
            kind,
            least_pause: Duration::ZERO,
        }
    }
}

/// The tokens of a client.
pub(crate) struct Tokens {
    url: Url,
    authorization: Option<HeaderValue>,
    form: String,
    known: RwLock<Option<Token>>,
    /// The number of requests that ended.
    rounds: AtomicU64,
    /// Held by the one who asks: the failure of the last request.
    asking: Mutex<Option<Failed>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Tokens")
            .field("url", &self.url.as_str())
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    token_type: String,
    /// Seconds; some servers write them as a text.
    expires_in: Option<Value>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

impl Tokens {
    pub(crate) fn new(of: &ClientCredentials) -> Result<Self, String> {
        let url = crate::client::base(&of.token_url);
        let url = url.ok_or("the token endpoint is no http:// or https:// address")?;
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if !of.scope.is_empty() {
            form.append_pair("scope", &of.scope);
        }
        let authorization = match of.style {
            // RFC 6749, 2.3.1: both are encoded as in a form first.
            Style::Basic => Some(basic(&encoded(&of.id), &encoded(of.secret.expose()))?),
            Style::Post => {
                form.append_pair("client_id", &of.id);
                form.append_pair("client_secret", of.secret.expose());
                None
            }
        };
        Ok(Self {
            url,
            authorization,
            form: form.finish(),
            known: RwLock::default(),
            rounds: AtomicU64::new(0),
            asking: Mutex::default(),
        })
    }

    /// A token that is not the `refused` one.
    pub(crate) async fn get(&self, wire: &Wire, refused: Option<u64>) -> Result<Token, Failed> {
        if let Some(token) = self.good(refused) {
            return Ok(token);
        }
        let round = self.rounds.load(Ordering::Acquire);
        let mut last = self.asking.lock().await;
        if let Some(token) = self.good(refused) {
            return Ok(token);
        }
        // Whoever waited for a request that failed has its failure, and does not ask once more.
        if self.rounds.load(Ordering::Acquire) != round
            && let Some(failed) = &*last
        {
            return Err(failed.clone());
        }
        let asked = self.ask(wire).await;
        let number = self.rounds.fetch_add(1, Ordering::AcqRel) + 1;
        match asked {
            Ok((header, until)) => {
                let token = Token {
                    header,
                    number,
                    until,
                };
                *last = None;
                *self.known.write() = Some(token.clone());
                Ok(token)
            }
            Err(failed) => {
                *last = Some(failed.clone());
                Err(failed)
            }
        }
    }

    fn good(&self, refused: Option<u64>) -> Option<Token> {
        let known = self.known.read();
        let good = known
            .as_ref()
            .filter(|token| Some(token.number) != refused && Instant::now() < token.until);
        good.cloned()
    }

    async fn ask(&self, wire: &Wire) -> Result<(HeaderValue, Instant), Failed> {
        let asked = Instant::now();
        let mut request = reqwest::Request::new(Method::POST, self.url.clone());
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, form);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        *request.body_mut() = Some(self.form.clone().into());
        let (status, headers, body) = wire.send(request, MOST_BYTES).await?;
        if PASSING.contains(&status) {
            let wish = retry_after(&headers, SystemClock.now());
            return Err(Failed {
                kind: Kind::Status(status),
                least_pause: wish.unwrap_or_default(),
            });
        }
        if status != StatusCode::OK {
            let refusal = serde_json::from_slice::<Refusal>(&body).ok();
            let code = refusal.and_then(|said| CODES.into_iter().find(|code| *code == said.error));
            return Err(code.map_or(Kind::Status(status), Kind::Refused).into());
        }
        let granted: Granted = serde_json::from_slice(&body)
            .map_err(|_| Kind::Body("it grants no token, or is no JSON".into()))?;
        if !granted.token_type.eq_ignore_ascii_case("bearer") {
            return Err(Kind::Body("the token is no bearer token".into()).into());
        }
        let life = granted.expires_in.as_ref().and_then(life);
        let life = life.unwrap_or(USUAL_LIFE);
        let header = bearer(&granted.access_token).map_err(Kind::Body)?;
        let until = asked + life - MARGIN.min(life / 10);
        Ok((header, until.max(Instant::now() + LEAST_KEPT)))
    }
}

/// The life that `expires_in` tells; `None` where it tells none.
fn life(expires_in: &Value) -> Option<Duration> {
    let text = expires_in.as_str().and_then(|text| text.parse().ok());
    let seconds: f64 = expires_in.as_f64().or(text)?;
    // Neither is what is not a number.
    let is_life = seconds > 0.0;
    is_life.then(|| Duration::from_secs_f64(seconds.min(LONGEST_LIFE.as_secs_f64())))
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_life_is_a_positive_number_of_seconds_that_an_instant_can_hold() {
        let year = 31_536_000.0;
        for (expires_in, seconds) in [
            (json!(3600), Some(3600.0)),
            (json!("3600"), Some(3600.0)),
            (json!(0.5), Some(0.5)),
            (json!(u64::MAX), Some(year)),
            (json!(1e300), Some(year)),
            (json!("inf"), Some(year)),
            (json!("NaN"), None),
            (json!(0), None),
            (json!(-0.0), None),
            (json!(-1), None),
            (json!(i64::MIN), None),
            (json!("soon"), None),
            (json!(null), None),
            (json!([3600]), None),
        ] {
            assert_eq!(
                life(&expires_in),
                seconds.map(Duration::from_secs_f64),
                "{expires_in}"
            );
        }
    }
}
