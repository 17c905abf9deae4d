//! Who sends a request, for the owner of the account to recognise.

use std::convert::Infallible;
use std::net::IpAddr;

use axum::extract::FromRequestParts;
use blocks::kit::Peer;
use http::header::USER_AGENT;
use http::request::Parts;
use http::{HeaderMap, HeaderName};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// As much as tells one's clients apart, in characters.
const MAX_USER_AGENT: usize = 200;

/// The device behind a request. It is what the client says, and decides about nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    /// Its `User-Agent`, shortened.
    pub user_agent: Option<String>,
    /// Its address.
    pub address: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let agent = parts.headers.get(USER_AGENT);
        let agent = agent.and_then(|value| value.to_str().ok());
        let peer = parts.extensions.get().map(|Peer(address)| *address);
        Ok(Self {
            user_agent: agent.map(|text| text.chars().take(MAX_USER_AGENT).collect()),
            address: address(peer, &parts.headers).map(|address| address.to_string()),
        })
    }
}

/// The peer, or where that is a proxy in a network of ours, whoever it names: the last one outside of such networks.
fn address(peer: Option<IpAddr>, headers: &HeaderMap) -> Option<IpAddr> {
    let mut found = peer.map(|peer| peer.to_canonical());
    if found.is_some_and(|peer| !is_ours(peer)) {
        return found;
    }
    let named = headers.get_all(FORWARDED_FOR).iter();
    let named: Vec<&str> = named.filter_map(|value| value.to_str().ok()).collect();
    for name in named.iter().flat_map(|names| names.split(',')).rev() {
        let Ok(address) = name.trim().parse::<IpAddr>() else {
            break;
        };
        let address = address.to_canonical();
        found = Some(address);
        if !is_ours(address) {
            break;
        }
    }
    found
}

/// True for addresses that a proxy of ours may have.
fn is_ours(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            address.is_loopback() || address.is_private() || address.is_link_local()
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_is_its_peer_and_a_proxy_names_whom_it_stands_for() {
        for (peer, named, wanted) in [
            ("192.0.2.1", "198.51.100.9", "192.0.2.1"),
            ("::ffff:192.0.2.1", "", "192.0.2.1"),
            ("10.0.0.2", "", "10.0.0.2"),
            ("10.0.0.2", "198.51.100.9", "198.51.100.9"),
            ("10.0.0.2", "203.0.113.7, 198.51.100.9", "198.51.100.9"),
            ("127.0.0.1", "203.0.113.7, 10.0.0.3", "203.0.113.7"),
            ("fd00::1", "2001:db8::5", "2001:db8::5"),
            ("10.0.0.2", "203.0.113.7, <script>", "10.0.0.2"),
            ("10.0.0.2", "192.168.1.4, 10.0.0.3", "192.168.1.4"),
        ] {
            let mut headers = HeaderMap::new();
            for name in named.split(' ').filter(|name| !name.is_empty()) {
                headers.append(FORWARDED_FOR, name.trim_matches(',').parse().unwrap());
            }
            let found = address(Some(peer.parse().unwrap()), &headers);
            assert_eq!(found.unwrap().to_string(), wanted, "{peer} for {named}");
        }
        assert_eq!(address(None, &HeaderMap::new()), None);
    }
}
