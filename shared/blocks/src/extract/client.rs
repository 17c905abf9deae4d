//! The address that a request comes from.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr};

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::request::Parts;

use crate::kit::Peer;

/// The client's address, to count requests by. Of a request that a proxy passed on it is what the last proxy says:
/// but only a peer on this machine or in a private network is believed to be one. `None` where the kit gives no peer
/// ([`crate::kit::PEER_ASKED`]).
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
        Ok(Self(peer.map(|peer| {
            let forwarded = || forwarded(&parts.headers);
            is_near(peer).then(forwarded).flatten().unwrap_or(peer)
        })))
    }
}

/// The last entry is the only one that the last proxy wrote.
fn forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    let mut values = headers.get_all("x-forwarded-for").iter();
    let last = values.next_back()?.to_str().ok()?.rsplit(',').next()?;
    let address: IpAddr = last.trim().parse().ok()?;
    Some(address.to_canonical())
}

fn is_near(peer: IpAddr) -> bool {
    match peer {
        IpAddr::V4(peer) => peer.is_loopback() || peer.is_private(),
        IpAddr::V6(peer) => peer.is_loopback() || peer.is_unique_local(),
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
            ("fd00::1", vec!["2001:db8:1:2:3:4:5:6"], "2001:db8:1:2::"),
        ] {
            let found = seen(Some(peer), &forwarded).await;
            assert_eq!(found.as_deref(), Some(address), "{peer} {forwarded:?}");
        }
        assert_eq!(seen(None, &["198.51.100.1"]).await, None);
    }
}
