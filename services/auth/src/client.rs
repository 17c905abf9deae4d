//! Who sends a request, for the owner of the account to recognise.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use blocks::extract::ClientAddress;
use http::header::USER_AGENT;
use http::request::Parts;

/// As much as tells one's clients apart, in characters.
const MAX_USER_AGENT: usize = 200;

/// The device behind a request. It is what the client says, and decides about nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    /// Its `User-Agent`, shortened.
    pub user_agent: Option<String>,
    /// Its address.
    pub address: Option<String>,
    /// What all addresses of one home have in common.
    pub network: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let from = ClientAddress::from_request_parts(parts, state).await?;
        let agent = parts.headers.get(USER_AGENT);
        let agent = agent.and_then(|value| value.to_str().ok());
        Ok(Self {
            user_agent: agent.map(|text| text.chars().take(MAX_USER_AGENT).collect()),
            address: from.0.map(|address| address.to_string()),
            network: from.network().map(|network| network.to_string()),
        })
    }
}
