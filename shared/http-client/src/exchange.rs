//! A call: its tries, the pauses between them, and what becomes of each.

use std::time::Duration;

use blocks::backoff::Backoff;
use blocks::{Clock, SystemClock};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_LOCATION, LINK, LOCATION, REFERER};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::Url;
use tokio::time::{Instant, sleep, timeout_at};

use crate::auth::Credentials;
use crate::breaker::Circuit;
use crate::client::{Client, Inner};
use crate::error::{Asked, Error, Kind, bare};
use crate::response::Response;
use crate::retry::least_pause;
use crate::token::{Failed, Token};

/// What is sent at each try.
pub(crate) struct Call {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub timeout: Duration,
    pub is_repeatable: bool,
}

/// The connections of a client.
pub(crate) struct Wire {
    pub http: reqwest::Client,
    pub idle: Duration,
}

impl Wire {
    /// Sends `request` once and reads its answer, of which no more than `most` bytes are kept.
    pub(crate) async fn send(
        &self,
        request: reqwest::Request,
        most: usize,
    ) -> Result<(StatusCode, HeaderMap, Bytes), Kind> {
        let failed = |error: reqwest::Error| Kind::of(&error, self.idle);
        let mut answer = self.http.execute(request).await.map_err(failed)?;
        let told = answer.content_length().unwrap_or_default();
        if usize::try_from(told).is_ok_and(|told| told > most) {
            return Err(Kind::TooLarge(most));
        }
        let mut body: Vec<u8> = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > most {
                return Err(Kind::TooLarge(most));
            }
            body.extend_from_slice(&chunk);
        }
        let status = answer.status();
        Ok((status, std::mem::take(answer.headers_mut()), body.into()))
    }
}

/// The progress of a call.
struct Progress {
    deadline: Instant,
    backoff: Backoff,
    /// The token that the server refused.
    refused: Option<u64>,
    /// The time that the token endpoint wanted to be left alone at the last try.
    least_pause: Duration,
    redirects: u32,
}

impl Client {
    /// Makes a call, as often as it may and must.
    #[tracing::instrument(
        level = "debug",
        name = "http.client",
        skip_all,
        fields(client = &*self.0.name, method = call.method.as_str())
    )]
    pub(crate) async fn exchange(&self, mut call: Call) -> Result<Response, Error> {
        let client = &*self.0;
        client.budget.deposit();
        let mut progress = Progress {
            deadline: Instant::now() + call.timeout,
            backoff: Backoff::default(),
            refused: None,
            least_pause: Duration::ZERO,
            redirects: 0,
        };
        loop {
            let (outcome, token) = client.attempt(&call, &mut progress).await;
            if let Ok(answer) = &outcome {
                // Nothing was done without a good token, so any method may be sent again: once.
                if answer.status == StatusCode::UNAUTHORIZED
                    && progress.refused.is_none()
                    && let Some(token) = token
                    // A client that was revoked would otherwise triple its load for ever.
                    && client.budget.withdraw()
                {
                    progress.refused = Some(token.number);
                    continue;
                }
                if let Some(url) = client.elsewhere(&call, answer, progress.redirects) {
                    progress.redirects += 1;
                    call.url = url;
                    continue;
                }
            }
            let Some(pause) = client.pause(&call, &outcome, &mut progress) else {
                return outcome.map_err(|kind| client.asked(&call).failed(kind));
            };
            tracing::debug!(
                pause_ms = pause.as_millis(),
                failures = progress.backoff.failures(),
                "will try again"
            );
            sleep(pause).await;
        }
    }
}

impl Inner {
    fn asked(&self, call: &Call) -> Asked {
        Asked::new(&self.name, call.method.clone(), call.url.clone())
    }

    /// One try, with the token that was used for it.
    async fn attempt(
        &self,
        call: &Call,
        progress: &mut Progress,
    ) -> (Result<Response, Kind>, Option<Token>) {
        let deadline = progress.deadline;
        progress.least_pause = Duration::ZERO;
        let late = || Kind::Timeout(call.timeout);
        let token = match &self.credentials {
            Credentials::Tokens(tokens) => {
                let token = timeout_at(deadline, tokens.get(&self.wire, progress.refused)).await;
                match token.unwrap_or_else(|_| Err(late().into())) {
                    Ok(token) => Some(token),
                    Err(Failed { kind, least_pause }) => {
                        progress.least_pause = least_pause;
                        let kind = Kind::Token(Box::new(kind));
                        self.note(call, &Err(kind.clone()), Duration::ZERO);
                        return (Err(kind), None);
                    }
                }
            }
            _ => None,
        };
        let permit = self.circuit.as_ref().map(Circuit::admit);
        if matches!(permit, Some(None)) {
            self.note(call, &Err(Kind::Open), Duration::ZERO);
            return (Err(Kind::Open), None);
        }
        let started = Instant::now();
        let request = self.request(call, token.as_ref());
        let answer = timeout_at(deadline, self.wire.send(request, self.max_bytes)).await;
        let answer = answer.unwrap_or_else(|_| Err(late()));
        // A caller's own short patience says nothing about the server.
        let is_hasty = matches!(answer, Err(Kind::Timeout(patience)) if patience < self.timeout);
        if let Some(permit) = permit.flatten().filter(|_| !is_hasty) {
            permit.end(is_well(&answer));
        }
        let outcome = answer.map(|(status, headers, body)| Response {
            status,
            headers,
            body,
            asked: self.asked(call),
        });
        self.note(call, &outcome, started.elapsed());
        (outcome, token)
    }

    fn request(&self, call: &Call, token: Option<&Token>) -> reqwest::Request {
        let mut request = reqwest::Request::new(call.method.clone(), call.url.clone());
        let headers = request.headers_mut();
        headers.clone_from(&call.headers);
        match (&self.credentials, token) {
            (_, Some(token)) => {
                headers.insert(AUTHORIZATION, token.header.clone());
            }
            (Credentials::Header(name, value), None) => {
                headers.insert(name, value.clone());
            }
            (Credentials::None | Credentials::Tokens(_), None) => {}
        }
        if !call.body.is_empty() {
            *request.body_mut() = Some(call.body.clone().into());
        } else if [Method::POST, Method::PUT, Method::PATCH].contains(&call.method) {
            // Some servers refuse these where no length is said.
            request.headers_mut().insert(CONTENT_LENGTH, 0.into());
        }
        request
    }

    /// Counts a try, and logs it for whoever asks for such lines.
    fn note(&self, call: &Call, outcome: &Result<Response, Kind>, took: Duration) {
        let method = match call.method {
            Method::GET => "GET",
            Method::POST => "POST",
            Method::PUT => "PUT",
            Method::DELETE => "DELETE",
            Method::PATCH => "PATCH",
            Method::HEAD => "HEAD",
            Method::OPTIONS => "OPTIONS",
            _ => "other",
        };
        let duration_ms = took.as_millis();
        match outcome {
            Ok(answer) => {
                let status = answer.status.as_u16();
                self.metrics.answered(method, status, took);
                tracing::debug!(url = answer.asked.url, status, duration_ms, "answered");
                tracing::trace!(
                    sent = ?shown(&call.headers, &call.url),
                    received = ?shown(&answer.headers, &call.url),
                    "headers"
                );
            }
            Err(kind) => {
                self.metrics.failed(kind.name());
                tracing::debug!(
                    url = self.asked(call).url,
                    error = blocks::error::chain(kind),
                    duration_ms,
                    "not answered"
                );
            }
        }
    }

    /// Where a redirect leads, if it may be followed: credentials go to no other origin.
    fn elsewhere(&self, call: &Call, answer: &Response, followed: u32) -> Option<Url> {
        let is_read = [Method::GET, Method::HEAD].contains(&call.method);
        if !answer.status.is_redirection() || !is_read || followed >= self.redirects {
            return None;
        }
        let location = answer.headers.get(LOCATION)?.to_str().ok()?;
        let url = call.url.join(location).ok()?;
        let brings_own = !url.username().is_empty() || url.password().is_some();
        (url.origin() == call.url.origin() && !brings_own).then_some(url)
    }

    /// The pause before another try; `None` if this outcome is the call's.
    fn pause(
        &self,
        call: &Call,
        outcome: &Result<Response, Kind>,
        progress: &mut Progress,
    ) -> Option<Duration> {
        if matches!(outcome, Ok(answer) if answer.status.is_success())
            || progress.backoff.failures() >= self.most_retries
        {
            return None;
        }
        let least = least_pause(outcome, call.is_repeatable, SystemClock.now())?;
        let least = least.max(progress.least_pause);
        // The server's wish, and then our own: callers that heard the same must not all come at once.
        let pause = least + progress.backoff.pause();
        if Instant::now() + pause >= progress.deadline {
            return None;
        }
        if !self.budget.withdraw() {
            self.metrics.retry_refused();
            return None;
        }
        self.metrics.retried();
        Some(pause)
    }
}

/// True if the server did its part: the client's own limits and refusals say nothing against it.
fn is_well<T>(answer: &Result<(StatusCode, T, Bytes), Kind>) -> bool {
    match answer {
        Ok((status, ..)) => !status.is_server_error(),
        Err(kind) => matches!(kind, Kind::TooLarge(_) | Kind::Request(_)),
    }
}

/// Headers to look at, without values that may be secrets. `url` is what relative URLs are relative to.
fn shown(headers: &HeaderMap, url: &Url) -> HeaderMap {
    let mut headers = headers.clone();
    for (name, value) in &mut headers {
        if blocks::telemetry::is_secret(name.as_str()) || *name == LINK {
            value.set_sensitive(true);
        } else if [LOCATION, CONTENT_LOCATION, REFERER].contains(name) {
            let leads_to = value.to_str().ok().and_then(|text| url.join(text).ok());
            let leads_to = leads_to.map(|url| HeaderValue::try_from(bare(url)));
            match leads_to {
                Some(Ok(leads_to)) => *value = leads_to,
                _ => value.set_sensitive(true),
            }
        }
    }
    headers
}
