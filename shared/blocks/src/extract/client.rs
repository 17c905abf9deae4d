//! The address that a request comes from.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::request::Parts;

use crate::kit::Peer;

/// The client's address: the peer's, or where that is a proxy in a network of ours, whoever it names, the last one
/// outside of such networks. `None` where the kit gives no peer ([`Peer`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub Option<IpAddr>);

impl ClientAddress {
    /// All addresses of one client: a home has a whole /64 of version 6.
    pub fn network(self) -> Option<IpAddr> {
        self.0.map(|address| match address {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => {
                Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into()
            }
        })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<Peer>().map(|Peer(peer)| *peer);
        Ok(Self(peer.map(|peer| address(peer, &parts.headers))))
    }
}

fn address(peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let mut found = peer.to_canonical();
    let lists = headers.get_all("x-forwarded-for").iter();
    let lists: Vec<&str> = lists.filter_map(|value| value.to_str().ok()).collect();
    // The last name is the only one that the last proxy wrote.
    let mut names = lists.iter().flat_map(|list| list.split(',')).rev();
    while is_ours(found) {
        let Some(Ok(address)) = names.next().map(|name| name.trim().parse::<IpAddr>()) else {
            break;
        };
        found = address.to_canonical();
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

    async fn seen(peer: Option<&str>, forwarded: &[&str]) -> Option<String> {
        let mut request = http::Request::get("/");
        for value in forwarded {
            request = request.header("x-forwarded-for", *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        if let Some(peer) = peer {
            parts.extensions.insert(Peer(peer.parse().unwrap()));
        }
        let Ok(found) = ClientAddress::from_request_parts(&mut parts, &()).await;
        found.network().map(|address| address.to_string())
    }

    #[tokio::test]
    async fn only_a_peer_nearby_speaks_for_others() {
        for (peer, forwarded, address) in [
            ("203.0.113.7", vec![], "203.0.113.7"),
            ("203.0.113.7", vec!["198.51.100.1"], "203.0.113.7"),
            ("127.0.0.1", vec![], "127.0.0.1"),
            ("127.0.0.1", vec!["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
            (
                "10.0.0.2",
                vec!["1.1.1.1", "::ffff:198.51.100.1"],
                "198.51.100.1",
            ),
            ("10.0.0.2", vec!["198.51.100.1, garbage"], "10.0.0.2"),
            ("127.0.0.1", vec!["198.51.100.1, 10.0.0.3"], "198.51.100.1"),
            ("10.0.0.2", vec!["192.168.1.4, 10.0.0.3"], "192.168.1.4"),
            ("::ffff:192.0.2.1", vec![], "192.0.2.1"),
            ("fd00::1", vec!["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::"),
        ] {
            let found = seen(Some(peer), &forwarded).await;
            assert_eq!(found.as_deref(), Some(address), "{peer} {forwarded:?}");
        }
        assert_eq!(seen(None, &["198.51.100.1"]).await, None);
    }
}
