//! Reads the servers out of the URL, without a connection.

use blocks::error::BoxError;
use mongodb::options::{ConnectionString, HostInfo};

use super::error::Failure;

/// The servers that `url` names, for log lines. Nothing else of it is ever shown, since it holds the
/// password.
///
/// # Errors
/// When it is no MongoDB URL.
pub fn servers_of(url: &str) -> Result<String, BoxError> {
    let read = ConnectionString::parse(url).map_err(Failure)?;
    Ok(match read.host_info {
        HostInfo::HostIdentifiers(servers) => {
            let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
            servers.join(",")
        }
        HostInfo::DnsRecord(name) => name,
        _ => String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_without_what_is_secret_in_their_url() {
        for (url, servers) in [
            ("mongodb://db", "db:27017"),
            ("mongodb://ada:secret@a:1,b:2/posts", "a:1,b:2"),
            (
                "mongodb+srv://ada:secret@cluster.example",
                "cluster.example",
            ),
        ] {
            assert_eq!(servers_of(url).unwrap(), servers);
        }
        for url in [
            "db:27017",
            "postgres://ada:secret@db/x",
            "mongodb://ada:sec:ret@db",
            "mongodb://ada:secret@/",
            "mongodb://ada:secret@db/x?nonsense=1",
            "mongodb://ada:secret@db:port/x",
        ] {
            let said = servers_of(url).unwrap_err().to_string();
            assert!(!said.is_empty() && !said.contains("secret"), "{said}");
        }
    }
}
