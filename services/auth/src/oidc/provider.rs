//! A provider: its metadata and keys, and what it says of people.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use openidconnect::core::{
    CoreAuthPrompt, CoreAuthenticationFlow, CoreClient, CoreClientAuthMethod,
    CoreErrorResponseType, CoreIdToken, CoreIdTokenClaims, CoreProviderMetadata,
    CoreUserInfoClaims,
};
use openidconnect::url::Url;
use openidconnect::{
    AuthType, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret, CsrfToken,
    DiscoveryError, EndpointMaybeSet, EndpointNotSet, EndpointSet, IssuerUrl, Nonce,
    OAuth2TokenResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError,
    Scope, SignatureVerificationError, TokenResponse, UserInfoError,
};
use serde::Deserialize;

use super::attempt::ATTEMPT_FOR;
use super::wire::Wire;
use super::{Attempt, OidcError, PATH, ProviderSettings, Settings};

/// How long a provider's metadata and keys are taken for true. An unknown key is looked for at once.
const METADATA_FOR: TimeDelta = TimeDelta::hours(1);
/// How far a provider's clock may be from ours.
pub const CLOCK_LEEWAY: TimeDelta = TimeDelta::minutes(1);
/// How old a fresh ID token may be: as old as an attempt.
const TOKEN_AGE: TimeDelta = ATTEMPT_FOR;
/// The longest subject, in bytes (OpenID Connect Core 2).
const MAX_SUBJECT: usize = 255;
/// The longest name that is taken over, in bytes.
const MAX_NAME: usize = 200;

type Named = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// What a provider shall ask somebody.
#[derive(Debug, Clone, Copy, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Prompt {
    /// Nothing: it fails where something must be asked.
    None,
    Login,
    Consent,
    SelectAccount,
}

/// Somebody as a provider knows them.
#[derive(Debug, Clone)]
pub struct Person {
    pub issuer: String,
    /// Their id there, never given to anybody else.
    pub subject: String,
    pub email: Option<String>,
    /// True if the provider says that it has checked the address.
    pub email_verified: bool,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub full_name: Option<String>,
}

/// A provider that people sign in with.
pub struct Provider {
    of: ProviderSettings,
    wire: Arc<Wire>,
    redirect: RedirectUrl,
    issuer: IssuerUrl,
    /// One asks for all who wait.
    known: tokio::sync::Mutex<Option<(DateTime<Utc>, Arc<CoreProviderMetadata>)>>,
}

impl Provider {
    /// The provider `of`, which sends browsers back to `site`. It is not asked yet.
    pub(super) fn new(of: &ProviderSettings, settings: &Settings, site: &Url) -> Self {
        let back = format!(
            "{}{PATH}/{}/callback",
            site.as_str().trim_end_matches('/'),
            of.name
        );
        Self {
            wire: Arc::new(Wire::new(of, settings)),
            redirect: RedirectUrl::new(back).expect("a path is added to a URL"),
            issuer: IssuerUrl::new(of.issuer.clone()).expect("it was read as a URL"),
            of: of.clone(),
            known: tokio::sync::Mutex::default(),
        }
    }

    /// Where a browser asks the provider, and the attempt that waits for its answer.
    ///
    /// # Errors
    /// When the provider's metadata can't be had.
    pub async fn begin(
        &self,
        prompt: Option<Prompt>,
        return_to: Option<Url>,
        now: DateTime<Utc>,
    ) -> Result<(Url, Attempt), OidcError> {
        let metadata = self.metadata(now).await?;
        let client = self.client(&metadata);
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let mut request = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                CsrfToken::new_random,
                Nonce::new_random,
            )
            .set_pkce_challenge(challenge)
            .add_scopes(self.of.scopes.iter().cloned().map(Scope::new));
        if let Some(prompt) = prompt {
            request = request.add_prompt(match prompt {
                Prompt::None => CoreAuthPrompt::None,
                Prompt::Login => CoreAuthPrompt::Login,
                Prompt::Consent => CoreAuthPrompt::Consent,
                Prompt::SelectAccount => CoreAuthPrompt::SelectAccount,
            });
        }
        let (url, state, nonce) = request.url();
        let attempt = Attempt {
            provider: self.of.name.clone(),
            nonce: nonce.secret().clone(),
            verifier: verifier.into_secret(),
            return_to: return_to.map(String::from),
            expires_at: now + ATTEMPT_FOR,
            state: state.into_secret(),
        };
        Ok((url, attempt))
    }

    /// True if an answer that names `issuer` is of this provider (RFC 9207).
    pub fn is(&self, issuer: &str) -> bool {
        self.of.issuer == issuer
    }

    /// Whoever the provider gave `code` for.
    ///
    /// # Errors
    /// When the provider does not take it, does not answer, or its answer can't be trusted.
    pub async fn redeem(
        &self,
        code: String,
        attempt: &Attempt,
        now: DateTime<Utc>,
    ) -> Result<Person, OidcError> {
        let metadata = self.metadata(now).await?;
        let client = self.client(&metadata);
        let http = self.wire.client();
        let request = client
            .exchange_code(AuthorizationCode::new(code))
            .map_err(|_| OidcError::Rubbish("it has no token endpoint".to_owned()))?
            .set_pkce_verifier(PkceCodeVerifier::new(attempt.verifier.clone()));
        let tokens = request
            .request_async(&http)
            .await
            .map_err(|error| match error {
                RequestTokenError::ServerResponse(refused) => match refused.error() {
                    CoreErrorResponseType::InvalidGrant => OidcError::CodeRefused,
                    code => {
                        OidcError::Rubbish(format!("the token endpoint refuses: {}", code.as_ref()))
                    }
                },
                RequestTokenError::Request(error) => error.into(),
                RequestTokenError::Parse(error, _) => unreadable(&error),
                RequestTokenError::Other(_) => {
                    OidcError::Rubbish("no answer of a token endpoint".to_owned())
                }
            })?;
        let token = tokens.id_token();
        let token = token.ok_or_else(|| OidcError::Token("there is none".to_owned()))?;
        let claims = match verify(&client, token, attempt, now) {
            // Its keys are others now, perhaps under the names of the former ones.
            Err(ClaimsVerificationError::SignatureVerification(
                SignatureVerificationError::NoMatchingKey
                | SignatureVerificationError::CryptoError(_),
            )) => {
                let newer = self.newer(&metadata, now).await?;
                verify(&self.client(&newer), token, attempt, now)
            }
            judged => judged,
        };
        let claims = claims.map_err(|error| match error {
            ClaimsVerificationError::InvalidNonce(_) => OidcError::Nonce,
            error => OidcError::Token(blocks::error::chain(&error)),
        })?;
        let subject = claims.subject().as_str();
        if subject.is_empty() || subject.len() > MAX_SUBJECT || subject.contains('\0') {
            return Err(OidcError::Token("its subject is none".to_owned()));
        }
        let mut person = Person {
            issuer: self.of.issuer.clone(),
            subject: subject.to_owned(),
            email: claims.email().map(|email| email.to_string()),
            email_verified: claims.email_verified().unwrap_or(false),
            first_name: claims.given_name().and_then(|name| plain(name.get(None)?)),
            last_name: claims.family_name().and_then(|name| plain(name.get(None)?)),
            full_name: claims.name().and_then(|name| plain(name.get(None)?)),
        };
        if person.email.is_some() {
            return Ok(person);
        }
        // Some tell more of somebody only there.
        let access = tokens.access_token().clone();
        let Ok(request) = client.user_info(access, Some(claims.subject().clone())) else {
            return Ok(person);
        };
        let told: Result<CoreUserInfoClaims, _> = request.request_async(&http).await;
        let told = told.map_err(|error| match error {
            UserInfoError::Request(error) => error.into(),
            UserInfoError::Parse(error) => unreadable(&error),
            UserInfoError::ClaimsVerification(error) => OidcError::Token(format!(
                "what is told beside it is not: {}",
                blocks::error::chain(&error)
            )),
            UserInfoError::Response(status, ..) => {
                OidcError::Rubbish(format!("userinfo answered {status}"))
            }
            _ => OidcError::Rubbish("no answer of userinfo".to_owned()),
        })?;
        let name = |of: Option<String>, other: Option<String>| of.or(other);
        person.email = told.email().map(|email| email.to_string());
        person.email_verified = told.email_verified().unwrap_or(false);
        person.first_name = name(
            person.first_name,
            told.given_name().and_then(|name| plain(name.get(None)?)),
        );
        person.last_name = name(
            person.last_name,
            told.family_name().and_then(|name| plain(name.get(None)?)),
        );
        person.full_name = name(
            person.full_name,
            told.name().and_then(|name| plain(name.get(None)?)),
        );
        Ok(person)
    }

    /// The metadata with the keys, read anew from time to time.
    async fn metadata(&self, now: DateTime<Utc>) -> Result<Arc<CoreProviderMetadata>, OidcError> {
        let mut known = self.known.lock().await;
        if let Some((read_at, metadata)) = &*known
            && now < *read_at + METADATA_FOR
        {
            return Ok(Arc::clone(metadata));
        }
        self.read(&mut known, now).await
    }

    /// Metadata with other keys than those of `seen`.
    async fn newer(
        &self,
        seen: &Arc<CoreProviderMetadata>,
        now: DateTime<Utc>,
    ) -> Result<Arc<CoreProviderMetadata>, OidcError> {
        let mut known = self.known.lock().await;
        match &*known {
            // Somebody else has read it since.
            Some((_, metadata)) if !Arc::ptr_eq(metadata, seen) => Ok(Arc::clone(metadata)),
            _ => self.read(&mut known, now).await,
        }
    }

    async fn read(
        &self,
        known: &mut Option<(DateTime<Utc>, Arc<CoreProviderMetadata>)>,
        now: DateTime<Utc>,
    ) -> Result<Arc<CoreProviderMetadata>, OidcError> {
        let http = self.wire.client();
        let read = CoreProviderMetadata::discover_async(self.issuer.clone(), &http).await;
        let read = read.map_err(|error| match error {
            DiscoveryError::Request(error) => error.into(),
            DiscoveryError::Parse(error) => unreadable(&error),
            DiscoveryError::Response(status, _, why) => {
                OidcError::Rubbish(format!("{status}: {why}"))
            }
            other => OidcError::Rubbish(other.to_string()),
        })?;
        self.wire.check(read.authorization_endpoint().url())?;
        let metadata = Arc::new(read);
        *known = Some((now, Arc::clone(&metadata)));
        Ok(metadata)
    }

    fn client(&self, metadata: &CoreProviderMetadata) -> Named {
        let secret = self.of.client_secret.as_ref();
        let secret = secret.map(|secret| ClientSecret::new(secret.expose().to_owned()));
        let id = ClientId::new(self.of.client_id.clone());
        let client = CoreClient::from_provider_metadata(metadata.clone(), id, secret);
        // Without a list it is Basic.
        let takes = metadata.token_endpoint_auth_methods_supported();
        let post = takes.is_some_and(|takes| {
            takes.contains(&CoreClientAuthMethod::ClientSecretPost)
                && !takes.contains(&CoreClientAuthMethod::ClientSecretBasic)
        });
        let shown = if post {
            AuthType::RequestBody
        } else {
            AuthType::BasicAuth
        };
        client
            .set_redirect_uri(self.redirect.clone())
            .set_auth_type(shown)
    }
}

fn verify<'a>(
    client: &Named,
    token: &'a CoreIdToken,
    attempt: &Attempt,
    now: DateTime<Utc>,
) -> Result<&'a CoreIdTokenClaims, ClaimsVerificationError> {
    let issued = move |at: DateTime<Utc>| {
        let is_fresh = at <= now + CLOCK_LEEWAY && at >= now - CLOCK_LEEWAY - TOKEN_AGE;
        is_fresh
            .then_some(())
            .ok_or_else(|| format!("issued at {at} by its provider's clock, now {now} by ours"))
    };
    let verifier = client.id_token_verifier();
    let verifier = verifier
        .set_time_fn(move || now - CLOCK_LEEWAY)
        .set_issue_time_verifier_fn(issued);
    token.claims(&verifier, &Nonce::new(attempt.nonce.clone()))
}

/// A name that an account may have.
fn plain(name: &str) -> Option<String> {
    let is_plain = name.len() <= MAX_NAME && !name.chars().any(char::is_control);
    is_plain
        .then(|| name.trim().to_owned())
        .filter(|name| !name.is_empty())
}

/// Without the text that can't be read: a token may be in it.
fn unreadable(error: &serde_path_to_error::Error<serde_json::Error>) -> OidcError {
    let inner = error.inner();
    OidcError::Rubbish(format!(
        "it can't be read at {} (line {}, column {})",
        error.path(),
        inner.line(),
        inner.column()
    ))
}
