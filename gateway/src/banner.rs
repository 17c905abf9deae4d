//! The greeting of a server that starts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use blocks::config::{Config, Durability};

use crate::VERSION;

/// The URL at which the same machine reaches a server that listens on `address`.
pub fn url(address: SocketAddr) -> String {
    let mut reach = address;
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => reach.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => reach.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    format!("http://{reach}")
}

/// The greeting: the address, the data folder, and three commands to try.
pub fn text(config: &Config, address: SocketAddr, folder: &Path) -> String {
    let url = url(address);
    // As it was called: `cargo run` puts it on nobody's path.
    let program = std::env::args().next();
    let program = program.as_deref().unwrap_or("rookery");
    let elsewhere = if config.data_dir == Config::default().data_dir {
        String::new()
    } else {
        format!(" --data-dir {}", folder.display())
    };
    let json = "-H 'Content-Type: application/json'";
    format!(
        r#"
  Rookery {VERSION}
  listens on  {url}  (documentation: {url}/docs)
  keeps data  in {folder}; what it acknowledges survives {survives}
  stops       with Ctrl-C

  Try it, in another terminal:

    curl -s {url}/api/auth/register {json} -d '{{"email":"ada@example.org","username":"ada","password":"correct horse"}}'
    TOKEN=$(curl -s {url}/api/auth/login {json} -d '{{"username":"ada","password":"correct horse"}}' | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
    curl -s {url}/api/posts -H "Authorization: Bearer $TOKEN" {json} -d '{{"title":"Hello","content":"The first post"}}'

  Then `{program} events tail posts-events{elsewhere}` shows what happened, `{program} --help` the rest.

"#,
        folder = folder.display(),
        survives = survives(config),
    )
}

/// The failures that a commit survives.
fn survives(config: &Config) -> &'static str {
    match config.sqlite_durability {
        Durability::Full => "a power cut",
        Durability::Process => "a crash of the process, not a power cut",
    }
}
