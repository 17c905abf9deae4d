//! Addresses of the services of a fleet.

use std::str::FromStr;

use http::Uri;

use crate::roster::ROSTER;

/// The address of a service: `posts=http://10.0.0.3:8000`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// One of the services of this version.
    pub service: &'static str,
    /// Its address, without a slash at the end.
    pub url: String,
    /// The host and the port in it.
    pub authority: String,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, url) = text
            .split_once('=')
            .ok_or("write it as SERVICE=URL: posts=http://127.0.0.1:8103")?;
        let known = || ROSTER.iter().map(|of| of.name);
        let service = known().find(|service| *service == name).ok_or_else(|| {
            let known: Vec<&str> = known().collect();
            format!("there is no service {name:?}, only {}", known.join(", "))
        })?;
        let url = url.trim_end_matches('/');
        let uri = url.parse::<Uri>().ok();
        let uri = uri.filter(|uri| uri.scheme_str() == Some("http"));
        let authority = uri.as_ref().and_then(Uri::authority);
        let authority = authority.ok_or_else(|| format!("{url:?} is no http:// address"))?;
        Ok(Self {
            service,
            url: url.to_owned(),
            authority: match authority.port() {
                Some(_) => authority.to_string(),
                None => format!("{authority}:80"),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_a_service_there_is_and_where_it_listens() {
        let posts: Address = "posts=http://127.0.0.1:8103/".parse().unwrap();
        assert_eq!(
            (posts.service, posts.url.as_str()),
            ("posts", "http://127.0.0.1:8103")
        );
        assert_eq!(posts.authority, "127.0.0.1:8103");
        let posts: Address = "posts=http://posts".parse().unwrap();
        assert_eq!(posts.authority, "posts:80");
        for (bad, why) in [
            ("posts", "SERVICE=URL"),
            ("pots=http://h:1", "no service \"pots\", only auth"),
            ("posts=h:1", "no http:// address"),
            ("posts=ftp://h", "no http:// address"),
            ("posts=", "no http:// address"),
        ] {
            let error = bad.parse::<Address>().unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
